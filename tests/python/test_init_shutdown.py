"""Starting and stopping: init, shutdown, is_initialized, joining, ends of drivers."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import ray_engine as ray
from ray_engine._private import lifecycle, object_ref
from ray_engine._private.session import session
from ray_engine.cluster_utils import Cluster

from tests.python import leaks
from tests.python.waiting import wait_for


def run_driver(code, **kwargs):
    """Runs `code` as a driver of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, **kwargs)


def start_driver(code, **kwargs):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], text=True, **(pipes | kwargs))


def test_init_says_where_it_is(start):
    assert not ray.is_initialized()
    context = start(num_cpus=1)
    assert ray.is_initialized()
    assert context.address_info["node_id"] == ray.get_runtime_context().get_node_id()
    assert context["node_id"] == context.address_info["node_id"]
    ray.shutdown()
    assert not ray.is_initialized()


def test_context_manager_shuts_down(start):
    with start(num_cpus=1):
        assert ray.is_initialized()
    assert not ray.is_initialized()


def test_second_init_is_an_error(start):
    start(num_cpus=1)
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        ray.init()
    ray.init(ignore_reinit_error=True)


FIRST_USES = {
    "a small value": "assert ray.get(ray.put(1)) == 1",
    "a value that is pickled": "assert ray.get(ray.put({1: ray})) == {1: ray}",
    "an array": "assert ray.get(ray.put(np.ones(1_000_000))).sum() == 1_000_000",
    "an empty array": "assert ray.get(ray.put(ray.empty(100_000))).size == 100_000",
    "get": "assert ray.get([]) == []",
    "wait": "assert len(ray.wait([ray.put(1)])[0]) == 1",
    "a task": "assert ray.get(ray.remote(lambda: 1).remote()) == 1",
    "an actor": "assert ray.get(ray.remote(list).remote().__ray_ready__.remote())",
    "the runtime context": "assert ray.get_runtime_context().get_job_id()",
    "a placement group": "assert placement_group([{'CPU': 1}]).wait(60)",
}


@pytest.mark.parametrize("use", FIRST_USES.values(), ids=FIRST_USES)
def test_a_first_use_starts_a_session(use):
    imports = "import numpy as np, ray_engine as ray; from ray_engine.util.placement_group import placement_group\n"
    done = run_driver(f"{imports}{use}; assert ray.is_initialized()")
    assert done.returncode == 0, done.stderr


def test_unknown_argument_is_an_error(start):
    with pytest.raises(RuntimeError, match="no_such_argument"):
        ray.init(no_such_argument=1)
    assert not ray.is_initialized()


def test_shutdown_twice(start):
    start(num_cpus=1)
    ray.shutdown()
    ray.shutdown()


def test_first_call_starts_an_engine(start):
    @ray.remote
    def f():
        return 1

    assert ray.get(f.remote()) == 1
    assert ray.is_initialized()


def test_functions_and_classes_outlive_a_session(start):
    @ray.remote
    def double(x):
        return 2 * x

    @ray.remote
    class Counter:
        def __init__(self):
            self.n = 0

        def next(self):
            self.n += 1
            return self.n

    for _ in range(3):
        start(num_cpus=1)
        counter = Counter.remote()
        assert ray.get([double.remote(4), counter.next.remote(), counter.next.remote()]) == [8, 1, 2]
        ray.shutdown()


def test_references_of_an_ended_session_are_refused(start):
    start(num_cpus=1)
    old = ray.put("old")
    ray.shutdown()
    start(num_cpus=1)
    new = ray.put("new")

    @ray.remote
    def takes(value):
        return value

    with pytest.raises(ValueError, match="owner is unknown.*belongs to a session that has ended"):
        ray.get(old)
    for argument in (old, [old]):
        with pytest.raises(ValueError, match="owner is unknown"):
            takes.remote(argument)
    assert ray.wait([old, new]) == ([new], [old])
    with pytest.raises(ValueError, match="could never return"):
        ray.wait([old, new], num_returns=2)
    with pytest.raises(ValueError, match="owner is unknown"):
        ray.wait([old])


def test_handles_of_an_ended_session_are_refused(start):
    @ray.remote
    class Actor:
        def f(self):
            return 1

    start(num_cpus=1)
    actor = Actor.remote()
    assert ray.get(actor.f.remote()) == 1
    ray.shutdown()
    start(num_cpus=1)
    with pytest.raises((ray.exceptions.RayError, ValueError)):
        ray.get(actor.f.remote(), timeout=10)


@pytest.mark.timeout(1200)
def test_five_hundred_times(start):
    @ray.remote
    def f(x):
        return x + 1

    process = leaks.Process()
    for i in range(500):
        ray.init(num_cpus=1)
        if i % 10 == 0:
            assert ray.get(f.remote(i)) == i + 1
        ray.shutdown()
    process.check()


def test_init_in_a_thread_that_ends(start):
    @ray.remote
    def f():
        return os.getpid()

    thread = threading.Thread(target=lambda: start(num_cpus=1))
    thread.start()
    thread.join()
    assert ray.get(f.remote()) != os.getpid()
    workers = leaks.processes(os.environ[leaks.MARK_NAME])
    assert workers
    assert ray.get(f.remote()) in workers


def test_init_and_shutdown_in_different_threads(start):
    @ray.remote
    def f():
        return 3

    for _ in range(3):
        start(num_cpus=1)
        assert ray.get(f.remote()) == 3
        thread = threading.Thread(target=ray.shutdown)
        thread.start()
        thread.join()
        assert not ray.is_initialized()


def test_unfinished_work_does_not_delay_shutdown(start, gate):
    @ray.remote
    def wait_for_ever(gate):
        gate.pass_through()

    start(num_cpus=2)
    refs = [wait_for_ever.remote(gate) for _ in range(20)]
    gate.wait_for_arrival()
    ray.shutdown()
    del refs


def test_driver_killed(tmp_path):
    """SIGKILL of a driver ends its engine, its workers and their children, and leaves nothing."""
    code = """
import os, sys
import ray_engine as ray

@ray.remote
def where():
    return os.getpid()

@ray.remote
class Actor:
    def where(self):
        return os.getpid()

ray.init(num_cpus=2)
actor = Actor.remote()
print(*ray.get([where.remote(), actor.where.remote()]), flush=True)
sys.stdin.read()
"""
    machine = leaks.Machine(os.environ[leaks.MARK_NAME])
    driver = start_driver(code)
    pids = [int(word) for word in driver.stdout.readline().split()]
    assert len(pids) == 2 and driver.pid not in pids
    driver.kill()
    driver.communicate()
    assert driver.returncode == -signal.SIGKILL
    machine.check()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_driver_ended_by_a_signal(number):
    code = """
import sys
import ray_engine as ray

@ray.remote
def f():
    import time
    time.sleep(1000)

ray.init(num_cpus=1)
ref = f.remote()
print("ready", flush=True)
ray.get(ref)
"""
    machine = leaks.Machine(os.environ[leaks.MARK_NAME])
    driver = start_driver(code)
    assert driver.stdout.readline() == "ready\n"
    driver.send_signal(number)
    driver.communicate(timeout=60)
    assert driver.returncode != 0
    machine.check()


def test_driver_that_forgets_to_shut_down():
    machine = leaks.Machine(os.environ[leaks.MARK_NAME])
    done = run_driver("import ray_engine as ray; ray.init(num_cpus=1); print(ray.get(ray.put(5)))")
    assert (done.returncode, done.stdout) == (0, "5\n"), done.stderr
    machine.check()


def test_driver_that_fails():
    machine = leaks.Machine(os.environ[leaks.MARK_NAME])
    done = run_driver("import ray_engine as ray; ray.init(num_cpus=1); raise ValueError('on purpose')")
    assert done.returncode == 1
    assert "ValueError: on purpose" in done.stderr
    machine.check()


def test_in_a_deleted_working_directory(tmp_path):
    code = """
import os
import ray_engine as ray

os.mkdir("gone")
os.chdir("gone")
os.rmdir(os.getcwd())
ray.init(num_cpus=1)

@ray.remote
def where():
    return os.getcwd()

print(ray.get(where.remote()))
"""
    done = run_driver(code, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "/\n"), done.stderr


def test_an_engine_that_cannot_start():
    done = run_driver("import ray_engine as ray; ray.init('local', object_store_memory=10**14)")
    assert done.returncode == 1
    assert "ray-engine process ended with exit code 2; see its message above" in done.stderr
    assert "ray-engine: --object-store-memory" in done.stderr and "closed the connection" not in done.stderr


def test_starting_on_first_use_can_be_switched_off(start, monkeypatch):
    monkeypatch.setenv("RAY_ENABLE_AUTO_CONNECT", "0")
    for use in (lambda: ray.put(1), ray.remote(lambda: 1).remote, ray.get_runtime_context):
        with pytest.raises(ray.exceptions.RaySystemError, match=r"ray\.init\(\)"):
            use()
    assert not ray.is_initialized()
    start(num_cpus=1)
    assert ray.get(ray.remote(lambda: 1).remote()) == 1


def test_auto_without_a_session(start):
    with pytest.raises(ConnectionError):
        ray.init(address="auto")
    assert not ray.is_initialized()


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1", "ray-engine/0/no-such-session/0"])
def test_addresses_where_nobody_is(start, address):
    with pytest.raises(ConnectionError):
        ray.init(address=address)
    assert not ray.is_initialized()


def test_another_version_does_not_join(start):
    address = start(num_cpus=1).address_info["address"]
    code = """
import sys
import ray_engine as ray

ray.__version__ = "1.13.0"
try:
    ray.init(address=sys.argv[1])
except RuntimeError as error:
    print(error)
print(ray.is_initialized())
"""
    done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, timeout=120)
    text, joined = done.stdout.strip().rsplit("\n", 1)
    assert "Ray 1.13.0" in text and f"Ray {ray.__version__}" in text and joined == "False", done
    assert text.count("Python {}.{}".format(*sys.version_info)) == 2


def _then_interrupt(function):
    def interrupted(*args, **kwargs):
        result = function(*args, **kwargs)
        signal.raise_signal(signal.SIGINT)
        return result

    return interrupted


def test_an_interrupted_start_leaves_nothing(start, monkeypatch):
    monkeypatch.setattr(lifecycle, "_start", _then_interrupt(lifecycle._start))
    with pytest.raises(KeyboardInterrupt):
        start(num_cpus=1)
    assert not ray.is_initialized()


def test_an_interrupted_shutdown_is_complete(start, monkeypatch):
    start(num_cpus=1)
    supervisor = session.supervisor
    monkeypatch.setattr(object_ref, "forget_pinned", _then_interrupt(object_ref.forget_pinned))
    with pytest.raises(KeyboardInterrupt):
        ray.shutdown()
    assert not ray.is_initialized() and supervisor.exit_code(0) == 0


def test_a_second_driver_joins(start):
    @ray.remote
    class Box:
        def __init__(self):
            self.value = 1

        def swap(self, value):
            self.value, old = value, self.value
            return old

    context = start(num_cpus=2, namespace="shared")
    box = Box.options(name="box").remote()
    assert ray.get(box.swap.remote(2)) == 1
    code = """
import sys
import ray_engine as ray

ray.init(address=sys.argv[1], namespace="shared")
box = ray.get_actor("box")
print(ray.get(box.swap.remote(3)), ray.get_runtime_context().get_job_id())
"""
    for address in ("auto", context.address_info["address"]):
        done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        value, job = done.stdout.split()
        assert int(value) in (2, 3)
        assert job != ray.get_runtime_context().get_job_id()
    assert ray.get(box.swap.remote(0)) == 3


def test_two_sessions_and_auto(start):
    """Several sessions at once: each driver has its own; "auto" refuses to guess and names them."""
    context = start(num_cpus=1)
    begin = "import ray_engine as ray; c = ray.init('local', num_cpus=1)"
    code = f"{begin}; print(c.address_info['address'], flush=True); input()"
    other = start_driver(code)
    address = other.stdout.readline().strip()
    assert address and address != context.address_info["address"]
    done = run_driver("import ray_engine as ray; ray.init(address='auto')")
    assert done.returncode != 0
    assert address in done.stderr and context.address_info["address"] in done.stderr
    other.communicate("\n", timeout=60)
    assert other.returncode == 0


def test_arguments_of_a_new_engine_are_refused_for_a_running_one(start):
    context = start(num_cpus=1)
    code = f"import ray_engine as ray; ray.init(address={context.address_info['address']!r}, num_cpus=3)"
    done = run_driver(code)
    assert done.returncode != 0
    assert "ValueError" in done.stderr and "num_cpus" in done.stderr


def test_a_child_of_the_driver_does_not_disturb_it(start):
    """A forked child that ends takes nothing with it, and has no session of its own."""

    @ray.remote
    def f():
        return 1

    start(num_cpus=1)
    assert ray.get(f.remote()) == 1
    pid = os.fork()
    if pid == 0:
        os._exit(3 if ray.is_initialized() else 4)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 4
    assert ray.get(f.remote()) == 1


def test_engine_of_a_session_is_gone_after_shutdown(start):
    start(num_cpus=1)
    mark = os.environ[leaks.MARK_NAME]
    assert leaks.processes(mark)
    ray.shutdown()
    wait_for(lambda: not leaks.processes(mark), "the end of the engine")


def test_a_program_that_calls_itself_another_version_joins_what_it_has_started(start, monkeypatch):
    monkeypatch.setattr(ray, "__version__", "1.13.0")
    cluster = Cluster()
    cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address)
        assert ray.get(ray.remote(lambda: 1).remote(), timeout=60) == 1
        ray.shutdown()
        monkeypatch.setattr(ray, "__version__", "1.14.0")
        with pytest.raises(RuntimeError, match="version mismatch"):
            ray.init(address=cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_children_that_the_program_forks_die_of_sigterm():
    done = run_driver("""
import os, signal
import ray_engine as ray
ray.init(num_cpus=1)
read, write = os.pipe()
child = os.fork()
if child == 0:
    os.write(write, b"x" if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL else b"?")
    signal.pause()
assert os.read(read, 1) == b"x"
os.kill(child, signal.SIGTERM)
print("ended by", os.waitpid(child, 0)[1])
""")
    assert done.stdout == "ended by 15\n", done
