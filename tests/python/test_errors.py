"""Errors on their way: what a task raised, what its dependants see, what a crash looks like."""

import os
import signal
import sys
import threading

import pytest
import ray_engine as ray

from tests.python.waiting import Gate


class Known(Exception):
    """An exception with arguments of its own."""

    def __init__(self, code, detail=None):
        super().__init__(f"code {code}")
        self.code, self.detail = code, detail


def fail_with(error):
    @ray.remote
    def deep_function(error):
        raise error

    return deep_function.remote(error)


def test_an_error_is_what_was_raised(cluster):
    class Mine(Exception):
        def __init__(self, code, detail):
            super().__init__(code, detail)
            self.code, self.detail = code, detail

        def describe(self):
            return f"{self.code}/{self.detail}"

    @ray.remote
    def fail():
        raise Mine(7, detail="x")

    with pytest.raises(Mine) as caught:
        ray.get(fail.remote())
    assert isinstance(caught.value, ray.exceptions.RayTaskError)
    assert (caught.value.code, caught.value.describe()) == (7, "7/x")


@pytest.mark.parametrize(
    "error", [ValueError("v"), KeyError("k"), ZeroDivisionError(), OSError(2, "no file"), Known(3)]
)
def test_errors_keep_their_class(cluster, error):
    with pytest.raises(type(error)) as caught:
        ray.get(fail_with(error))
    assert isinstance(caught.value, ray.exceptions.RayTaskError)
    assert isinstance(caught.value.cause, type(error))


def test_the_text_shows_where_it_happened(cluster):
    with pytest.raises(ValueError) as caught:
        ray.get(fail_with(ValueError("a reason")))
    text = str(caught.value)
    assert "deep_function" in text and "raise error" in text and "ValueError: a reason" in text
    assert os.path.basename(__file__) in text


def test_the_error_of_one_reference_does_not_hide_others(cluster):
    good, bad = ray.put(1), fail_with(ValueError("bad"))
    with pytest.raises(ValueError):
        ray.get([good, bad])
    assert ray.get(good) == 1
    with pytest.raises(ValueError):
        ray.get(bad)
    with pytest.raises(ValueError):  # as often as it is asked for
        ray.get(bad)


def test_all_results_of_a_failed_task_fail(cluster):
    @ray.remote(num_returns=3)
    def fail():
        raise ValueError("all")

    for ref in fail.remote():
        with pytest.raises(ValueError):
            ray.get(ref)


def test_dependants_of_what_a_dead_actor_owes_have_both_errors(cluster):
    @ray.remote
    class Dies:
        def end(self):
            os._exit(1)

    @ray.remote
    def hit(value):
        return value

    owed = Dies.remote().end.remote()
    for ref in (hit.remote(owed), hit.remote(hit.remote(owed))):
        with pytest.raises(ray.exceptions.RayTaskError, match=r"hit\b[\s\S]*ActorDiedError") as caught:
            ray.get(ref)
        assert isinstance(caught.value, ray.exceptions.ActorDiedError)
        assert isinstance(caught.value.cause, ray.exceptions.ActorDiedError)


def test_dependants_fail_with_the_same_error(cluster):
    @ray.remote
    def add_one(x):
        raise AssertionError("must not run")

    ref = fail_with(Known(5))
    for _ in range(3):
        ref = add_one.remote(ref)
    with pytest.raises(Known):
        ray.get(ref)


def test_errors_pass_through_nested_tasks(cluster):
    @ray.remote
    def inner():
        raise ValueError("from inside")

    @ray.remote
    def outer():
        return ray.get(inner.remote())

    with pytest.raises(ValueError) as caught:
        ray.get(outer.remote())
    assert "inner" in str(caught.value) and "outer" in str(caught.value)


def test_an_error_is_no_error_until_it_is_asked_for(cluster):
    @ray.remote
    def ignore(refs):
        return len(refs)

    assert ray.get(ignore.remote([fail_with(ValueError())])) == 1


def test_an_error_that_cannot_be_pickled(cluster):
    @ray.remote
    def fail():
        error = ValueError("with a lock")
        error.lock = threading.Lock()
        raise error

    with pytest.raises(ray.exceptions.RayTaskError, match="with a lock"):
        ray.get(fail.remote())


def test_an_error_that_cannot_be_unpickled(cluster):
    class Stubborn(Exception):
        def __init__(self, a, b):
            super().__init__(f"{a} and {b}")  # unpickling calls Stubborn("... and ...") and fails

    @ray.remote
    def fail():
        raise Stubborn(1, 2)

    with pytest.raises(ray.exceptions.RayError, match="1 and 2"):
        ray.get(fail.remote())


def test_a_value_that_cannot_be_pickled_names_the_culprit(cluster):
    @ray.remote
    def returns_a_lock():
        return {"some": threading.Lock()}

    with pytest.raises(TypeError) as caught:
        ray.get(returns_a_lock.remote())
    assert "lock" in str(caught.value)
    with pytest.raises(TypeError, match="lock"):
        ray.put(threading.Lock())


def test_an_argument_that_cannot_be_pickled_names_the_culprit(cluster):
    @ray.remote
    def f(x):
        return x

    with pytest.raises(TypeError, match="lock"):
        f.remote(threading.Lock())


def test_a_function_that_cannot_be_pickled_names_the_culprit(cluster):
    lock = threading.Lock()

    @ray.remote
    def uses_a_lock():
        return lock

    with pytest.raises(TypeError) as caught:
        uses_a_lock.remote()
    assert "uses_a_lock" in str(caught.value) and "lock" in str(caught.value)


def test_the_culprit_can_be_searched_for(cluster):
    serializable, failures = ray.util.inspect_serializability(lambda: threading.Lock(), name="fine")
    assert serializable and not failures


@pytest.mark.parametrize("end", ["os._exit(3)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 11)", "sys.exit(2)"])
def test_a_worker_that_ends_is_an_error(cluster, end):
    @ray.remote(max_retries=0)
    def die(end):
        exec(end, {"os": os, "sys": sys})

    with pytest.raises((ray.exceptions.WorkerCrashedError, SystemExit)):
        ray.get(die.remote(end), timeout=60)


def test_the_text_of_a_crash_names_the_signal(cluster):
    @ray.remote(max_retries=0)
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(ray.exceptions.WorkerCrashedError) as caught:
        ray.get(die.remote(), timeout=60)
    assert "die" in str(caught.value) or "SIGKILL" in str(caught.value) or "signal 9" in str(caught.value)


def test_a_crash_is_tried_again(cluster, tmp_path):
    @ray.remote
    def die_once(folder):
        mark = os.path.join(folder, "was here")
        if not os.path.exists(mark):
            open(mark, "w").close()
            os._exit(1)
        return "second time"

    assert ray.get(die_once.remote(str(tmp_path)), timeout=60) == "second time"


def test_a_crash_is_tried_no_more_than_allowed(cluster, tmp_path):
    @ray.remote(max_retries=2)
    def die(folder):
        open(os.path.join(folder, str(os.getpid())), "w").close()
        os._exit(1)

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(die.remote(str(tmp_path)), timeout=60)
    assert len(os.listdir(tmp_path)) == 3


def test_errors_are_tried_again_if_asked(cluster, tmp_path):
    @ray.remote(max_retries=3)
    def fail_twice(folder):
        count = len(os.listdir(folder))
        open(os.path.join(folder, str(count)), "w").close()
        if count < 2:
            raise ConnectionError("not yet")
        return count

    with pytest.raises(ConnectionError):
        ray.get(fail_twice.remote(str(tmp_path)))
    assert ray.get(fail_twice.options(retry_exceptions=True).remote(str(tmp_path)), timeout=60) == 2


def test_only_named_errors_are_tried_again(cluster, tmp_path):
    @ray.remote(max_retries=3, retry_exceptions=[ConnectionError])
    def fail(folder):
        count = len(os.listdir(folder))
        open(os.path.join(folder, str(count)), "w").close()
        raise (ConnectionError if count == 0 else ValueError)("stop")

    with pytest.raises(ValueError):
        ray.get(fail.remote(str(tmp_path)), timeout=60)
    assert len(os.listdir(tmp_path)) == 2


def test_a_crash_does_not_touch_others(cluster, tmp_path):
    """Tasks queued behind the one that kills its worker run elsewhere."""

    @ray.remote(max_retries=0)
    def maybe_die(i):
        if i == 3:
            os._exit(1)
        return i

    refs = [maybe_die.remote(i) for i in range(20)]
    results = []
    for i, ref in enumerate(refs):
        try:
            results.append(ray.get(ref, timeout=60))
        except ray.exceptions.WorkerCrashedError:
            results.append(None)
            assert i == 3
    assert results == [i if i != 3 else None for i in range(20)]


def test_errors_in_exception_groups(cluster):
    if sys.version_info < (3, 11):
        pytest.skip("ExceptionGroup needs Python 3.11")

    @ray.remote
    def fail():
        raise ExceptionGroup("several", [ValueError(1), KeyError(2)])  # noqa: F821

    with pytest.raises(ExceptionGroup) as caught:  # noqa: F821
        ray.get(fail.remote())
    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]


def test_a_failed_task_leaves_its_worker_in_order(cluster, tmp_path):
    @ray.remote
    def fail(gate):
        gate.arrive()
        raise ValueError

    @ray.remote
    def work(i):
        return i

    gate = Gate(tmp_path)
    for _ in range(30):
        with pytest.raises(ValueError):
            ray.get(fail.remote(gate))
    assert ray.get([work.remote(i) for i in range(30)]) == list(range(30))
