"""ObjectRef: what the C++ type gets beside what it brings along.

ObjectRef is a C++ type because it is made and dropped on every call. The methods here are the ones that are not on
that path; they are attached to the type when this module is imported.
"""

from __future__ import annotations

import logging
import os
import threading
import traceback
from typing import TYPE_CHECKING, Any

from ray_engine import _core
from ray_engine._core import ObjectRef
from ray_engine._private.ids import JobID, TaskID, UniqueID
from ray_engine.exceptions import GetTimeoutError, OufOfBandObjectRefSerializationException, RayTaskError

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

logger = logging.getLogger("ray")
_SIZE = UniqueID.size()
_task_id: Any = ObjectRef.task_id  # those of C++, which give bytes
_job_id: Any = ObjectRef.job_id


def future(self: ObjectRef) -> Future:
    """A concurrent.futures.Future of the value, or of the error that get() would raise."""
    from concurrent.futures import Future

    result: Future = Future()
    _when_ready(self, lambda value, error: _settle(result, value, error))
    return result


def _settle(result, value, error):
    if not result.set_running_or_notify_cancel():
        return
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(value)


def as_future(self: ObjectRef, _internal: bool = False) -> asyncio.Future:
    """An asyncio.Future of the value, in the running loop; where none runs, in the loop of this thread, which is made
    if need be."""
    import asyncio

    return asyncio.wrap_future(self.future(), loop=_loop_of_thread())


def _loop_of_thread():
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    try:
        return asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:  # not the main thread, or a loop was used here before and unset
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop


def __await__(self):
    return self.as_future(_internal=True).__await__()


def _on_completed(self, callback):
    """Calls callback(value, or the error that get() would raise) once it is there, in a thread of the engine."""

    def complete(value, error):
        try:
            callback(value if error is None else error)
        except Exception:  # as text: the traceback would keep the callback alive
            logger.error("A callback given to _on_completed() failed:\n%s", traceback.format_exc())

    _when_ready(self, complete)


def _when_ready(ref, callback):
    """Calls callback(value, error) once get() would not wait for the task any more."""
    _core.on_ready(ref, lambda: _deliver(ref, callback, 0))


def _deliver(ref, callback, timeout):
    try:
        value = _core.get(ref, timeout=timeout)
    except GetTimeoutError as error:
        if timeout == 0 and not isinstance(
            error, RayTaskError
        ):  # ready, but not on this node: the engine's thread must not wait
            threading.Thread(target=_deliver, args=(ref, callback, None), daemon=True).start()
        else:
            callback(None, error)
    except BaseException as error:  # whatever get() raises is the result
        callback(None, error)
    else:
        callback(value, None)


# References that were pickled outside of a task's arguments or values: the engine cannot see when the copy is dropped,
# so they live as long as the session.
_pinned: list[ObjectRef] = []


def __reduce__(self):
    if os.environ.get("RAY_allow_out_of_band_object_ref_serialization") == "0":
        raise OufOfBandObjectRefSerializationException(
            f"{self!r} is pickled by something other than a task's arguments, a task's result or ray.put()."
        )
    _pinned.append(self)
    return ObjectRef, (self.binary(), self.owner())


# ---- as an id -------------------------------------------------------------------------------------------------------


def task_id(self: ObjectRef) -> TaskID:
    """The id of the task that makes the object; of the one that put it, if it was put."""
    return TaskID(_task_id(self))


def job_id(self: ObjectRef) -> JobID:
    """The id of the job whose driver or task made the reference."""
    return JobID(_job_id(self))


def call_site(self: ObjectRef) -> str:
    """Where the reference was made: not recorded, so always ""."""
    return ""


def owner_address(self: ObjectRef) -> bytes:
    """The process that made the object, as bytes: what ObjectRef(binary, owner) takes. Empty if it is not known."""
    return self.owner()


def tensor_transport(self: ObjectRef) -> None:
    """How the value's tensors travel: always None, inside the value."""
    return None


def __class_getitem__(cls, _):
    return cls


def from_binary(cls: type[ObjectRef], binary: bytes) -> ObjectRef:
    """The reference with this id (28 bytes); ValueError if it has another length."""
    return cls(binary)


def from_hex(cls: type[ObjectRef], text: str) -> ObjectRef:
    """The reference with this id in hex (56 digits)."""
    return cls(bytes.fromhex(text))


def from_random(cls: type[ObjectRef]) -> ObjectRef:
    """A reference to nothing, with a random id."""
    return cls(os.urandom(_SIZE))


def nil(cls: type[ObjectRef]) -> ObjectRef:
    """The reference that stands for none."""
    return cls(b"\xff" * _SIZE)


def size(cls: type[ObjectRef]) -> int:
    """The number of bytes of an id."""
    return _SIZE


# ---- the end --------------------------------------------------------------------------------------------------------


def forget_pinned():
    """At the end of a session."""
    _pinned.clear()


def _attach():
    for method in (
        future, as_future, __await__, _on_completed, __reduce__, task_id, job_id, call_site, owner_address,
        tensor_transport,
    ):  # fmt: skip
        setattr(ObjectRef, method.__name__, method)
    for method in (__class_getitem__, from_binary, from_hex, from_random, nil, size):
        setattr(ObjectRef, method.__name__, classmethod(method))


_attach()
