"""`ray._private.test_utils`: helpers around processes, drivers, nodes and actors."""

import contextlib
import fnmatch
import os
import subprocess
import sys
import time

import psutil
import ray
from ray._common.network_utils import find_free_port
from ray._common.test_utils import (  # noqa: F401  (tests import them from either module)
    Semaphore,
    SignalActor,
    async_wait_for_condition,
    external_redis_test_enabled,
    is_named_tuple,
    run_string_as_driver,
    wait_for_condition,
)

# ---- processes -------------------------------------------------------------------------------------------------------


def pid_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition, timeout, what):
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"Timed out while waiting for {what}.")
        time.sleep(0.05)


def wait_for_pid_to_exit(pid, timeout=20):
    wait_until(lambda: not pid_alive(pid), timeout, f"process {pid} to exit")


def wait_for_children_of_pid(pid, num_children=1, timeout=20):
    process = psutil.Process(pid)
    wait_until(lambda: len(process.children()) >= num_children, timeout, f"{num_children} children of {pid}")


def wait_for_children_of_pid_to_exit(pid, timeout=20):
    _, alive = psutil.wait_procs(psutil.Process(pid).children(), timeout=timeout)
    if alive:
        raise TimeoutError(f"Children still alive: {[process.name() for process in alive]}")


def check_call_subprocess(argv, capture_stdout=False, capture_stderr=False):
    stdout = subprocess.PIPE if capture_stdout else None
    stderr = (subprocess.STDOUT if capture_stdout else subprocess.PIPE) if capture_stderr else None
    done = subprocess.run(argv, stdout=stdout, stderr=stderr, check=True)
    return (done.stdout or b"") + (done.stderr or b"")


def check_call_ray(args, capture_stdout=False, capture_stderr=False):
    check_call_subprocess(["ray", *args], capture_stdout, capture_stderr)


# ---- drivers ---------------------------------------------------------------------------------------------------------


def run_string_as_driver_stdout_stderr(driver_script, env=None, encode="utf-8"):
    done = subprocess.run([sys.executable, "-"], input=driver_script.encode(encode), capture_output=True, env=env)
    output, errors = done.stdout.decode(encode), done.stderr.decode(encode)
    if done.returncode:
        print(output, errors, sep="\n")
        raise subprocess.CalledProcessError(done.returncode, done.args, output, errors)
    return output, errors


def run_string_as_driver_nonblocking(driver_script, env=None):
    """Starts a script as a driver; its standard input is closed once it has been read."""
    runner = "import sys; text = sys.stdin.read(); sys.stdin.close(); exec(text, {'__name__': '__main__'})"
    process = subprocess.Popen(
        [sys.executable, "-c", runner], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    )
    process.stdin.write(driver_script.encode())
    process.stdin.close()
    return process


# ---- waiting ---------------------------------------------------------------------------------------------------------


def wait_for_assertion(assertion_predictor, timeout=10, retry_interval_ms=100, raise_exceptions=False, **kwargs):
    def holds():
        try:
            assertion_predictor(**kwargs)
        except AssertionError:
            return False
        return True

    try:
        wait_for_condition(holds, timeout, retry_interval_ms, raise_exceptions)
    except RuntimeError:
        assertion_predictor(**kwargs)


def wait_until_succeeded_without_exception(
    func, exceptions, *args, timeout_ms=1000, retry_interval_ms=100, raise_last_ex=False
):
    end, last = time.monotonic() + timeout_ms / 1000, None
    while time.monotonic() <= end:
        try:
            func(*args)
            return True
        except exceptions as error:
            last = error
            time.sleep(retry_interval_ms / 1000)
    if raise_last_ex and last is not None:
        raise last
    return False


# ---- actors, objects, nodes ------------------------------------------------------------------------------------------


def wait_for_num_actors(num_actors, state=None, timeout=10):
    from ray.util.state import list_actors

    filters = [("state", "=", state)] if state else None
    wait_until(
        lambda: len(list_actors(filters=filters, limit=num_actors)) >= num_actors, timeout, f"{num_actors} actors"
    )


def kill_actor_and_wait_for_failure(actor, timeout=10, retry_interval_ms=100):
    from ray.util.state import get_actor

    identity = actor._actor_id.hex()
    restarts = get_actor(id=identity).num_restarts
    ray.kill(actor)

    def gone():
        state = get_actor(id=identity)
        return state.state == "DEAD" or state.num_restarts > restarts

    wait_until(gone, timeout, f"the end of actor {identity}")


@ray.remote
def _identity(value):
    return value


def put_object(obj, use_ray_put):
    return ray.put(obj) if use_ray_put else _identity.remote(obj)


def object_memory_usage():
    key = "object_store_memory"
    return ray.cluster_resources().get(key, 0) - ray.available_resources().get(key, 0)


def get_other_nodes(cluster, exclude_head=False):
    own = ray.get_runtime_context().get_node_id()
    return [
        node
        for node in cluster.list_all_nodes()
        if node.node_id != own and not (exclude_head and node is cluster.head_node)
    ]


def get_non_head_nodes(cluster):
    return [node for node in cluster.list_all_nodes() if node is not cluster.head_node]


def is_placement_group_removed(pg):
    return ray.util.placement_group_table(pg).get("state") == "REMOVED"


def placement_group_assert_no_leak(pgs_created):
    for group in pgs_created:
        ray.util.remove_placement_group(group)
    wait_for_condition(lambda: all(entry["state"] == "REMOVED" for entry in ray.util.placement_group_table().values()))
    total = {
        name: value for name, value in ray.cluster_resources().items() if name not in ("memory", "object_store_memory")
    }

    def all_free():
        free = ray.available_resources()
        return not any("_group_" in name for name in free) and all(
            free.get(name, 0) == value for name, value in total.items()
        )

    wait_for_condition(all_free)


class BatchQueue(ray.util.queue.Queue):
    """A queue that several items can be taken from at a time."""

    def get_batch(self, batch_size=None, total_timeout=None, first_timeout=None):
        items = [self.get(timeout=first_timeout)]
        try:
            while batch_size is None or len(items) < batch_size:
                items.append(self.get(timeout=0 if batch_size is None else total_timeout))
        except ray.util.queue.Empty:
            pass
        return items


# ---- what Ray publishes ----------------------------------------------------------------------------------------------


class _ErrorSubscriber:
    """`GcsErrorSubscriber`: the engine's channel of errors, with poll() as Ray has it."""

    def __init__(self):
        from ray_engine._private.error_channel import ErrorListener

        self._listener = ErrorListener()

    def poll(self, timeout=None):
        error = self._listener.poll(timeout)
        return (None, None) if error is None else (error["job_id"], error)

    def close(self):
        self._listener.close()


class _LogSubscriber:
    """`GcsLogSubscriber`: the lines that workers of the job write."""

    def __init__(self):
        from ray_engine._private.error_channel import LogListener

        self._listener = LogListener()

    def poll(self, timeout=None):
        return self._listener.poll(timeout)

    def close(self):
        self._listener.close()


def init_error_pubsub():
    return _ErrorSubscriber()


def init_log_pubsub():
    return _LogSubscriber()


def get_error_message(subscriber, num=1e6, error_type=None, timeout=20):
    """At most `num` errors (of the type) that are reported within `timeout` seconds."""
    end, errors = time.monotonic() + timeout, []
    while len(errors) < num and time.monotonic() < end:
        _, error = subscriber.poll(timeout=end - time.monotonic())
        if error is not None and error_type in (None, error["type"]):
            errors.append(error)
    return errors


def get_log_batch(subscriber, num, timeout=20, job_id=None, matcher=None):
    """At most `num` groups of lines that are written within `timeout` seconds."""
    end, batches = time.monotonic() + timeout, []
    while len(batches) < num:
        batch = subscriber.poll(timeout=end - time.monotonic())
        if batch is None:
            break
        if job_id in (None, batch["job"]) and (matcher is None or matcher(batch)):
            batches.append(batch)
    return batches


def get_log_message(subscriber, num=1e6, timeout=20, job_id=None, matcher=None):
    return [batch["lines"] for batch in get_log_batch(subscriber, num, timeout, job_id, matcher)]


# ---- the rest --------------------------------------------------------------------------------------------------------


def client_test_enabled():
    return False


def generate_system_config_map(**kwargs):
    return {"_system_config": kwargs}


def get_current_unused_port():
    return find_free_port()


def format_web_url(url):
    url = url.replace("localhost", "http://127.0.0.1")
    return url if url.startswith("http://") else f"http://{url}"


def same_elements(first, second):
    first, second = list(first), list(second)
    return all(item in second for item in first) and all(item in first for item in second)


def recursive_fnmatch(dirpath, pattern):
    return [os.path.join(root, name) for root, _, names in os.walk(dirpath) for name in fnmatch.filter(names, pattern)]


@contextlib.contextmanager
def chdir(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
