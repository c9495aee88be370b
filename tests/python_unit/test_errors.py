"""Errors on their way from a task to its caller."""

import errno
import pickle
import sys
import threading

import cloudpickle
import pytest
import ray_engine as ray
from ray_engine import exceptions
from ray_engine._private.errors import make_error, raise_task_error, system_error
from ray_engine._private.serialization import loads


def raised_by(function, name="f"):
    """What get() would raise for a task that ran this."""
    try:
        function()
    except BaseException as error:  # what the worker catches
        encoded = make_error(error, name, error.__traceback__.tb_next)
    return raise_task_error(loads(encoded))


def test_is_of_the_users_class_and_tells_where_it_was_raised():
    class Mine(ValueError):
        def __init__(self, text, code):
            super().__init__(text, code)
            self.code = code

    def fails():
        raise Mine("no", 7)

    error = raised_by(fails)
    assert isinstance(error, Mine) and isinstance(error, exceptions.RayTaskError)
    assert error.code == 7 and error.cause.args == ("no", 7) and error.args == (error.cause,)
    lines = str(error).split("\n")
    assert lines[0].startswith("ray::f() (pid=") and "in fails" in lines[1] and lines[-1].endswith("Mine: ('no', 7)")


def test_builtin_state_is_kept():
    error = raised_by(lambda: open("/no/such/file"))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename) == (errno.ENOENT, "/no/such/file")


def test_nested_errors_show_the_whole_way():
    def inner():
        raise KeyError("deep")

    def outer():
        raise raised_by(inner, "inner")

    error = raised_by(outer, "outer")
    assert isinstance(error, KeyError) and isinstance(error.cause, KeyError)
    assert not isinstance(error.cause, exceptions.RayTaskError)
    assert str(error).index("ray::outer()") < str(error).index("ray::inner()") < str(error).index("KeyError: 'deep'")


def test_frames_of_the_package_are_hidden():
    error = raised_by(lambda: loads(b"broken"))
    assert "serialization.py" not in str(error).split("RaySystemError")[0]


def test_cause_that_cannot_be_pickled():
    class Locked(Exception):
        def __init__(self):
            self.lock = threading.Lock()

    def fails():
        raise Locked

    error = raised_by(fails)
    assert type(error) is exceptions.RayTaskError
    assert "isn't serializable" in str(error.cause)


class NeedsTwo(Exception):
    def __init__(self, one, two):
        super().__init__(one)


def test_cause_that_cannot_be_unpickled():
    def fails():
        raise NeedsTwo(1, 2)

    error = raised_by(fails)
    assert type(error) is exceptions.UnserializableException
    assert "Failed to deserialize exception" in str(error) and "ray::f()" in str(error) and "NeedsTwo" in str(error)


def test_cause_that_cannot_be_subclassed(caplog):
    class Final(Exception):
        def __init_subclass__(cls, **_):
            raise TypeError("final")

    def fails():
        raise Final("x")

    error = raised_by(fails)
    assert type(error) is exceptions.RayTaskError and isinstance(error.cause, Final)
    assert "This exception is raised as RayTaskError only" in caplog.text


def test_cause_with_read_only_args():
    class ReadOnly(Exception):
        @property
        def args(self):
            return ("fixed",)

    def fails():
        raise ReadOnly

    error = raised_by(fails)
    assert isinstance(error, ReadOnly) and error.args == (error.cause,)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups of exceptions came with Python 3.11")
def test_groups():
    def fails():
        raise ExceptionGroup("several", [ValueError(1), KeyError(2)])  # noqa: F821

    error = raised_by(fails)
    assert isinstance(error, ExceptionGroup) and len(error.exceptions) == 2  # noqa: F821


def test_text_that_cannot_be_made():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("mute")

    def fails():
        raise Mute

    assert isinstance(raised_by(fails), exceptions.RayError)


def test_task_errors_pickle_again():
    def fails():
        raise ValueError("x")

    error = raised_by(fails)
    for copy in (pickle.loads(cloudpickle.dumps(error)), pickle.loads(cloudpickle.dumps(error.cause))):
        assert isinstance(copy, ValueError)
    assert str(pickle.loads(cloudpickle.dumps(error))) == str(error)


# ---- what the engine reports ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [kind for kind in exceptions.RAY_EXCEPTION_TYPES if kind is not exceptions.RayTaskError]
)
def test_every_kind_can_be_reported_shown_and_pickled(kind):
    error = system_error(kind.__name__, "because", b"")
    assert isinstance(error, kind)
    assert str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_words_programs_look_for():
    assert "The worker died unexpectedly" in str(system_error("WorkerCrashedError", "signal 9"))
    assert "signal 9" in str(system_error("WorkerCrashedError", "signal 9"))
    assert "was cancelled" in str(system_error("TaskCancelledError", "", b"t" * 24))
    assert isinstance(system_error("GetTimeoutError", "slow"), TimeoutError)
    assert isinstance(system_error("NoSuchKind", "x"), exceptions.RaySystemError)
    hit = system_error("RayTaskError", "f", b"WorkerCrashedError\0signal 9\0")
    assert isinstance(hit, exceptions.RayTaskError) and isinstance(hit, exceptions.WorkerCrashedError)
    assert "signal 9" in str(hit) and "ray::f() did not run" in str(hit)


def test_actor_died():
    actor = ray.ActorID.from_random()
    error = system_error("ActorDiedError", "killed by signal 9", actor.binary())
    assert error.actor_id == actor.hex() and not error.actor_init_failed
    assert "died unexpectedly" in str(error) and "killed by signal 9" in str(error)


def test_actor_died_in_init():
    def fails():
        raise RuntimeError("no licence")

    actor = ray.ActorID.from_random()
    try:
        fails()
    except RuntimeError as cause:
        encoded = make_error(cause, "A.__init__", cause.__traceback__.tb_next)
    error = system_error("ActorDiedError", "", actor.binary() + encoded)
    assert error.actor_init_failed and error.actor_id == actor.hex()
    assert "error raised in its creation task, ray::A.__init__()" in str(error) and "no licence" in str(error)


def test_lost_objects_name_themselves():
    object_id = ray.ObjectRef.from_random()
    error = system_error("OwnerDiedError", "worker 0.7 was killed", object_id.binary())
    assert object_id.hex() in str(error) and "worker 0.7 was killed" in str(error)
    assert isinstance(error, exceptions.ObjectLostError)


def test_round_trip_by_bytes():
    error = exceptions.RayError.from_bytes(exceptions.OutOfMemoryError("full").to_bytes())
    assert isinstance(error, exceptions.OutOfMemoryError) and error.message == "full"


def test_registered_serializers_serve_exceptions_too():
    class Locked(OSError):
        def __init__(self, text):
            self.text = text
            self.lock = threading.Lock()

    def fails():
        raise Locked("x")

    ray.util.register_serializer(Locked, serializer=lambda e: e.text, deserializer=lambda text: Locked(text + "!"))
    try:
        error = raised_by(fails)
    finally:
        ray.util.deregister_serializer(Locked)
    assert isinstance(error, Locked) and error.cause.text == "x!"
