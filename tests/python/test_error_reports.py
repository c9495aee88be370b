"""What goes wrong beside results reaches the job's driver by kind, and errors that nobody reads are told."""

import gc
import os
import queue
import signal
import sys
import time

import pytest
import ray_engine as ray
from ray_engine._private import error_channel

from tests.python.test_output import run_driver
from tests.python.waiting import LIMIT_S


@pytest.fixture
def listener(cluster):
    listener = error_channel.ErrorListener()
    yield listener
    listener.close()


def next_error(listener, kind):
    """The next report, which must be of that kind; its text."""
    error = listener.poll(LIMIT_S)
    assert error["type"] == kind, error
    assert error["job_id"].hex() == ray.get_runtime_context().get_job_id()
    return error["error_message"]


@ray.remote(num_cpus=0)
class Counter:
    def pid(self):
        return os.getpid()


# ---- workers that die -----------------------------------------------------------------------------------------------


def test_a_worker_that_dies_with_a_task_is_reported_for_each_attempt(listener):
    @ray.remote(max_retries=1)
    def dies():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(dies.remote())
    first, second = (next_error(listener, "worker_died") for _ in range(2))
    assert "died or was killed while executing the task" in first and "dies" in first
    assert "SIGKILL" in first and first.endswith("It is tried again.")
    assert second.endswith("It is not tried again.")


def test_an_actor_whose_process_dies_is_reported(listener):
    actor = Counter.remote()
    os.kill(ray.get(actor.pid.remote()), signal.SIGKILL)
    text = next_error(listener, "worker_died")
    assert "executing the actor Counter" in text and actor._actor_id.hex() in text and "SIGKILL" in text


def test_ends_that_are_meant_are_not_reported(listener, gate):
    @ray.remote
    class Leaver:
        def leave(self):
            ray.actor.exit_actor()

    @ray.remote
    def waits():
        gate.pass_through()

    leaver, killed, dropped = Leaver.remote(), Counter.remote(), Counter.remote()
    ray.get([killed.pid.remote(), dropped.pid.remote()])
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(leaver.leave.remote())
    ray.kill(killed)
    del dropped
    cancelled = waits.remote()
    gate.wait_for_arrival()
    ray.cancel(cancelled, force=True)
    with pytest.raises((ray.exceptions.WorkerCrashedError, ray.exceptions.TaskCancelledError)):
        ray.get(cancelled)
    last = Counter.remote()
    os.kill(ray.get(last.pid.remote()), signal.SIGKILL)
    assert last._actor_id.hex() in next_error(listener, "worker_died")  # the first report there is


def test_reports_are_printed_even_where_output_of_workers_is_not():
    _, err = run_driver("""
import os
import ray_engine as ray
ray.init(num_cpus=1, log_to_driver=False)

@ray.remote(max_retries=0)
def dies():
    os.abort()

try:
    ray.get(dies.remote())
except ray.exceptions.WorkerCrashedError:
    pass
""")
    assert "(ray-engine) A worker died or was killed while executing the task dies" in err


# ---- what grows too large -------------------------------------------------------------------------------------------


def test_a_large_definition_is_warned_about(listener):
    captured = bytearray(2 * 10**7)

    @ray.remote
    def large():
        return len(captured)

    assert ray.get(large.remote()) == len(captured)
    assert "The remote function large is very large (19 MiB)" in next_error(listener, "pickling_large_object")


def test_a_detached_actor_that_no_other_program_can_find_is_warned_about(start):
    start(num_cpus=1)
    listener = error_channel.ErrorListener()
    actor = Counter.options(name="unreachable", lifetime="detached").remote()
    assert "'unreachable'" in next_error(listener, "detached_actor_anonymous_namespace")
    other = Counter.options(name="reachable", lifetime="detached", namespace="known").remote()
    ray.get([actor.pid.remote(), other.pid.remote()])
    assert listener.poll(0) is None
    listener.close()


def test_many_calls_under_way_are_warned_about(listener, gate):
    @ray.remote
    class Slow:
        def wait(self):
            gate.pass_through()

        def quick(self):
            pass

    actor = Slow.remote()
    refs = [actor.wait.remote(), *(actor.quick.remote() for _ in range(5000))]
    assert "More than 5000 tasks are pending submission to actor" in next_error(listener, "excess_queueing_warning")
    gate.open()
    ray.get(refs)


# ---- lines that workers print ---------------------------------------------------------------------------------------


@pytest.fixture
def log(cluster):
    log = error_channel.LogListener()
    yield log
    log.close()


def next_line(log):
    """The next group of lines of this test: what other processes of the job have printed is skipped."""
    batch = log.poll(LIMIT_S)
    while not any(line.startswith("heard:") for line in batch["lines"]):
        batch = log.poll(LIMIT_S)
    return batch


def test_listeners_hear_what_workers_print(log):
    @ray.remote
    def speaks(text, to_stderr):
        print(f"heard: {text}", file=sys.stderr if to_stderr else sys.stdout)
        return os.getpid()

    for text, to_stderr in (("one", False), ("two", True)):
        pid = ray.get(speaks.remote(text, to_stderr))
        batch = next_line(log)
        assert batch["lines"] == [f"heard: {text}"]
        assert (batch["name"], batch["pid"], batch["is_err"]) == ("speaks", pid, to_stderr)
        assert batch["job"] == ray.get_runtime_context().get_job_id() and batch["ip"]


def test_a_closed_listener_hears_nothing_more(log):
    @ray.remote
    def speaks():
        print("heard: me")

    closed = error_channel.LogListener()
    closed.close()
    ray.get(speaks.remote())
    next_line(log)
    assert closed.poll(0) is None


def test_an_actor_that_fails_in_its_creation_says_so(log):
    @ray.remote
    class Fails:
        def __init__(self):
            raise ValueError("heard: not today")

    actor = Fails.remote()
    batch = log.poll(LIMIT_S)
    while "Exception raised in creation task" not in batch["lines"][0]:
        batch = log.poll(LIMIT_S)
    assert batch["is_err"] and "Fails" in batch["name"]
    del actor


def test_the_end_of_a_driver_waits_for_what_a_failed_creation_says():
    _, err = run_driver("""
import ray_engine as ray

@ray.remote
class Fails:
    def __init__(self):
        raise ValueError("not today")

ray.init(num_cpus=1)
actor = Fails.remote()
""")
    assert "Exception raised in creation task" in err and "not today" in err


# ---- errors that nobody reads ---------------------------------------------------------------------------------------


@pytest.fixture
def unseen(cluster, monkeypatch):
    """The errors that are told, in order."""
    errors = queue.SimpleQueue()
    monkeypatch.setattr(error_channel, "on_unseen", errors.put)
    yield errors


@ray.remote
def fails(text):
    raise ValueError(text)


@ray.remote
def passes_on(value):
    return value


def test_an_error_is_told_when_its_last_reference_goes(unseen):
    ref = fails.remote("nobody looked")
    ray.wait([ref])
    assert unseen.empty()
    del ref
    error = unseen.get(timeout=LIMIT_S)
    assert isinstance(error, ValueError) and "nobody looked" in str(error)


def test_an_error_is_told_though_the_reference_went_first(unseen):
    fails.remote("too early")
    assert "too early" in str(unseen.get(timeout=LIMIT_S))


def read_by_get(ref):
    with pytest.raises(ValueError):
        ray.get(ref)


def read_in_a_list(ref):
    with pytest.raises(ValueError):
        ray.get([fails.remote("read"), ref])


def read_as_a_future(ref):
    assert isinstance(ref.future().exception(timeout=LIMIT_S), ValueError)


def read_by_its_dependant(ref):
    with pytest.raises(ValueError):
        ray.get(passes_on.remote(ref))


def read_in_another_process(ref):
    @ray.remote
    def reads(refs):
        try:
            ray.get(refs)
        except ValueError:
            return "seen"

    assert ray.get(reads.remote([ref])) == "seen"


def cancelled(ref):
    @ray.remote
    def sleeps():
        time.sleep(LIMIT_S)

    waiting = sleeps.remote()
    ray.cancel(waiting)
    ray.wait([waiting])
    read_by_get(ref)


def of_a_stream(ref):
    @ray.remote
    def yields():
        yield 1
        raise ValueError

    items = list(yields.remote())
    assert ray.get(items[0]) == 1
    read_by_get(items[1])
    read_by_get(ref)


@pytest.mark.parametrize(
    "look",
    [read_by_get, read_in_a_list, read_as_a_future, read_by_its_dependant, read_in_another_process, cancelled,
     of_a_stream],
)  # fmt: skip
def test_an_error_that_somebody_saw_is_not_told(unseen, look):
    ref = fails.remote("seen")
    ray.wait([ref])
    look(ref)
    del ref
    gc.collect()
    fails.remote("the first to be told")
    assert "the first to be told" in str(unseen.get(timeout=LIMIT_S))


def test_unseen_errors_are_logged_unless_they_are_to_be_ignored():
    code = """
import os
import ray_engine as ray
from ray_engine._private import error_channel
ray.init(num_cpus=1)

@ray.remote
def fails():
    raise ValueError("nobody looked")

ray.wait([fails.remote()])
if "RAY_IGNORE_UNHANDLED_ERRORS" not in os.environ:
    import logging, threading
    told = threading.Event()
    handler = logging.StreamHandler()
    handler.emit = lambda record, emit=handler.emit: (emit(record), told.set())
    logging.getLogger("ray").addHandler(handler)
    fails.remote()
    assert told.wait(60)
"""
    assert "Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1')" in run_driver(code)[1]
    ignored = "import os\nos.environ['RAY_IGNORE_UNHANDLED_ERRORS'] = '1'\n" + code
    assert "nobody looked" not in run_driver(ignored)[1]
