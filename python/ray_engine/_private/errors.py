"""Errors on their way: from the exception a task raised to bytes, and from what the engine reports to an exception.

The C++ side calls these as hooks; make_error() never fails.
"""

import logging
import os
import sys
import traceback

import cloudpickle

from ray_engine import exceptions
from ray_engine._private import own_actor
from ray_engine._private.ids import ActorID, TaskID
from ray_engine._private.serialization import dumps_plain
from ray_engine._private.session import session

logger = logging.getLogger("ray")
_PICKLE = b"\x80"  # begins one
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def make_error(error: BaseException, function_name: str, tb=None) -> bytes:
    """The pickled RayTaskError for what a task raised."""
    try:
        return _encode(_task_error(error, function_name, tb))
    except Exception:
        text = f"{type(error).__name__}: {_safe_str(error)}"
        return _encode(exceptions.RayTaskError(function_name, text, exceptions.RayError(text), ip=_own_address()))


def tell_failed_creation(encoded: bytes):
    """In an actor whose constructor raised this, as make_error() encoded it: prints it, as perhaps nobody calls it."""
    try:
        error = cloudpickle.loads(encoded)
        logger.error("Exception raised in creation task: %s", exceptions.ActorDiedError.from_task_error(error))
    except Exception:  # its text could not be made; callers get it anyway
        logger.error("Exception raised in creation task")


def raise_task_error(value):
    """The exception that get() raises for an error value."""
    if isinstance(value, exceptions.RayTaskError):
        return value.as_instanceof_cause()
    return value if isinstance(value, BaseException) else exceptions.RaySystemError(f"not an exception: {value!r}")


def decode(encoded: bytes) -> BaseException:
    """The exception that get() would raise for what make_error() has encoded."""
    return raise_task_error(cloudpickle.loads(encoded))


def system_error(kind: str, text: str, detail: bytes = b"") -> BaseException:
    """The exception for what the engine reports: a class name of ray_engine.exceptions, what happened, and the id it is
    about (object, actor, task); for ActorDiedError followed by the error of __init__ as make_error() encoded it, or by
    the engine's that an argument of it is."""
    build = _BUILDERS.get(kind)
    if build:
        return build(text, detail)
    error_class = getattr(exceptions, kind, None)
    if error_class is None:
        return exceptions.RaySystemError(f"{kind}: {text}")
    if issubclass(error_class, exceptions.ObjectLostError):
        return _object_error(error_class, text, detail)
    return error_class(text)


def _object_error(error_class, text, object_id):
    error = error_class(object_id.hex())
    error.detail = text
    return error


def _actor_died(text, detail):
    actor_id, init_error = detail[: ActorID.size()].hex(), detail[ActorID.size() :]
    if not init_error:
        return exceptions.ActorDiedError(f"\tactor_id: {actor_id}\n{text}", actor_id)
    cause = cloudpickle.loads(init_error) if init_error.startswith(_PICKLE) else _encoded_error(init_error)
    return exceptions.ActorDiedError(
        cause if isinstance(cause, exceptions.RayTaskError) else f"{text}\n{cause}", actor_id
    )


def _encoded_error(encoded):
    """The exception for an error of the engine's, as that encodes it."""
    kind, text, detail = encoded.split(b"\0", 2)
    return system_error(kind.decode(), text.decode(errors="replace"), detail)


def _dependant_failed(function_name, encoded):
    """For a task that never ran because an argument is an error of the engine's, as it was encoded."""
    cause = _encoded_error(encoded)
    shown = _shown("".join(traceback.format_exception_only(type(cause), cause)))
    reason = "At least one of the input arguments for this task could not be computed"
    text = f"ray::{function_name}() did not run. {reason}:\n{shown}"
    return exceptions.RayTaskError(function_name, text, cause, ip=_own_address()).as_instanceof_cause()


def _not_made_again(text, object_id):
    """`text`: the name of a ReconstructionFailure, and in the next line how the object was lost."""
    reason, _, detail = text.partition("\n")
    why_not = exceptions.ReconstructionFailure.__members__.get(reason)
    error = exceptions.ObjectReconstructionFailedError(object_id.hex(), why_not)
    error.detail = detail
    return error


_BUILDERS = {
    "ObjectReconstructionFailedError": _not_made_again,
    "RayTaskError": _dependant_failed,
    "ActorDiedError": _actor_died,
    "ActorUnavailableError": lambda text, detail: exceptions.ActorUnavailableError(text, detail or None),
    "TaskCancelledError": lambda text, detail: exceptions.TaskCancelledError(TaskID(detail) if detail else None, text),
}


def _task_error(error, function_name, tb):
    cause = error.cause if isinstance(error, exceptions.RayTaskError) else error
    text = _format(error, tb)
    actor_id, actor_repr = own_actor.current_actor()
    return exceptions.RayTaskError(
        function_name,
        text,
        _picklable(cause, text),
        ip=_own_address(),
        actor_id=actor_id,
        actor_repr=actor_repr,
    )


def _own_address():
    return session.info.get("node_ip")


def _picklable(cause, text):
    """The cause, or a RayError that tells what it was."""
    try:
        dumps_plain(cause)
        return cause
    except Exception as error:
        name = f"{type(cause).__module__}.{type(cause).__name__}"
        return exceptions.RayError(
            f"Exception {name} isn't serializable: {error}.\nOriginal exception details:\n{text}"
        )


def _encode(error) -> bytes:
    """Pickled so that an exception that cannot be unpickled still tells what it was."""
    text = "".join(traceback.format_exception_only(type(error), error)).strip()
    return cloudpickle.dumps(_Unpickled(dumps_plain(error), _shown(text)))


class _Unpickled:
    """Unpickles as the error, or as an UnserializableException with its text."""

    def __init__(self, pickled, text):
        self.state = pickled, text

    def __reduce__(self):
        return _unpickle, self.state


def _unpickle(pickled, text):
    try:
        return cloudpickle.loads(pickled)
    except Exception:
        return exceptions.UnserializableException(text)


def _format(error, tb) -> str:
    """The traceback as the user's code made it: without frames of this package."""
    report = traceback.TracebackException(type(error), error, tb)
    _hide_own_frames(report)
    return _shown("".join(report.format()))


def _hide_own_frames(report):
    while report is not None:
        report.stack = traceback.StackSummary.from_list(
            [frame for frame in report.stack if not os.path.abspath(frame.filename).startswith(_PACKAGE)]
        )
        if report.__cause__ is not None:
            _hide_own_frames(report.__cause__)
        report = report.__context__


def _shown(text: str) -> str:
    """Names our exceptions as the program imports them."""
    alias = sys.modules.get("ray") is sys.modules.get("ray_engine")
    return text.replace("ray_engine.exceptions.", "ray.exceptions.") if alias else text


def _safe_str(error) -> str:
    try:
        return str(error)
    except Exception:
        return "(its text could not be made)"
