"""The errors that ray_engine raises: Ray's classes, with its constructors and the words programs look for.

A task's own exception comes back as RayTaskError; get() raises it as an instance of both RayTaskError and the user's
class (as_instanceof_cause). All others say that the system could not do what was asked.
"""

import enum
import logging
import os
from traceback import format_exception
from typing import TYPE_CHECKING

import cloudpickle

from ray_engine._private import dual_error

if TYPE_CHECKING:
    from ray_engine._private.ids import TaskID

logger = logging.getLogger("ray.exceptions")


class RayError(Exception):
    """Base of all errors of the system."""

    def to_bytes(self) -> bytes:
        """The error pickled, with its text for those who cannot unpickle it."""
        text = "".join(format_exception(type(self), self, self.__traceback__))
        return cloudpickle.dumps((cloudpickle.dumps(self), text))

    @staticmethod
    def from_bytes(data: bytes) -> "RayError":
        """The error that to_bytes() was called on; an UnserializableException with its text if it cannot be loaded."""
        pickled, text = cloudpickle.loads(data)
        try:
            return cloudpickle.loads(pickled)
        except Exception:
            return UnserializableException(text)


class CrossLanguageError(RayError):
    """Raised by a task of another language."""


class TaskCancelledError(RayError):
    """The task was cancelled before it finished."""

    def __init__(self, task_id: "TaskID | None" = None, error_message: str | None = None):
        super().__init__(task_id, error_message)
        self.task_id = task_id
        self.error_message = error_message

    def __str__(self):
        text = (
            f"Task: {self.task_id} was cancelled. " if self.task_id else "This task or its dependency was cancelled. "
        )
        return (text + (self.error_message or "")).strip()


class RayTaskError(RayError):
    """A task raised an exception: `cause`, with the text of its remote traceback.

    `ip` is that of the node it ran on.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ):
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.proctitle = proctitle or f"ray::{function_name}"
        self.pid = pid or os.getpid()
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self._actor_id = actor_id
        self.cause = cause
        self.args = (function_name, traceback_str, self.cause, proctitle, pid, ip)

    def __reduce__(self):
        return _rebuild_task_error, (self.__dict__,)

    def as_instanceof_cause(self) -> "RayTaskError":
        """This error as an instance of the cause's class too; itself where that cannot be."""
        if issubclass(RayTaskError, type(self.cause)):
            return self
        try:
            return self.make_dual_exception_instance()
        except TypeError as error:
            logger.warning(
                f"User exception type {type(self.cause)} in RayTaskError can't be subclassed! "
                "This exception is raised as RayTaskError only. You can use "
                f"`ray_task_error.cause` to access the user exception. Failure in subclassing: {error}"
            )
        except Exception as error:
            logger.warning(
                f"RayTaskError does not combine with the user exception type {type(self.cause)} ({error}); "
                "raising RayTaskError only."
            )
        return self

    def make_dual_exception_instance(self) -> "RayTaskError":
        """An instance of both classes; raises TypeError where Python does not allow one."""
        return dual_error.make(RayTaskError, self.cause, str(self))

    def __str__(self):
        lines = []
        for line in self.traceback_str.strip().split("\n"):
            lines.append(self._origin() if line.startswith("Traceback ") else line)
        return "\n".join(lines)

    def _origin(self) -> str:
        actor = f", actor_id={self._actor_id}, repr={self.actor_repr}" if self.actor_repr else ""
        return f"{self.proctitle}() (pid={self.pid}, ip={self.ip}{actor})"


def _rebuild_task_error(state):
    error = RayTaskError.__new__(RayTaskError)
    error.__dict__.update(state)
    error.args = (error.function_name, error.traceback_str, error.cause, error.proctitle, error.pid, error.ip)
    return error


class WorkerCrashedError(RayError):
    """The worker process died while it ran the task."""

    def __str__(self):
        text = "The worker died unexpectedly while executing this task."
        return "\n".join([text, *map(str, self.args)])


class LocalRayletDiedError(RayError):
    """The engine of the task's node died."""

    def __str__(self):
        return "\n".join(["The node engine that ran this task died.", *map(str, self.args)])


class NodeDiedError(RayError):
    """A node was lost."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class RayActorError(RayError):
    """The actor is dead or cannot be reached; see the subclasses."""

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = BASE_ERROR_MSG,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ):
        super().__init__(actor_id, error_msg, actor_init_failed, preempted)
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    def __str__(self):
        return self.error_msg

    @property
    def actor_init_failed(self) -> bool:
        """Whether its __init__ raised."""
        return self._actor_init_failed

    @property
    def preempted(self) -> bool:
        """Whether its node was taken away."""
        return self._preempted


class ActorDiedError(RayActorError):
    """The actor is dead and will not come back.

    `cause`: the RayTaskError of its __init__, or a text that says how it died.
    """

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(self, cause: RayTaskError | str | None = None, actor_id: str | None = None):
        if isinstance(cause, RayTaskError):
            text = f"The actor died because of an error raised in its creation task, {cause}"
            super().__init__(actor_id or cause._actor_id, text, actor_init_failed=True)
        else:
            super().__init__(actor_id, "\n".join([self.BASE_ERROR_MSG, *([cause] if cause else [])]))
        self.args = (cause, actor_id)

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> "ActorDiedError":
        """The error of an actor whose __init__ raised this."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached for the moment."""

    def __init__(self, error_message: str, actor_id: bytes | str | None = None):
        shown = actor_id.hex() if isinstance(actor_id, bytes) else actor_id
        super().__init__(
            shown,
            f"The actor {shown} is unavailable: {error_message}. "
            "The task may or may not have been executed on the actor.",
        )
        self.args = (error_message, actor_id)


class ActorAlreadyExistsError(ValueError, RayError):
    """An actor of this name exists."""

    def __init__(self, error_message: str):
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to another session."""

    def __init__(self, error_message: str):
        super().__init__(error_message)
        self.error_message = error_message


class RaySystemError(RayError):
    """The engine failed."""

    def __init__(self, client_exc: BaseException | str, traceback_str: str | None = None):
        super().__init__(client_exc, traceback_str)
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self):
        text = f"System error: {self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class AuthenticationError(RayError):
    """A token was missing or wrong. ray-engine asks for none, so nothing here raises it; programs of Ray's may."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message

    def __str__(self):
        return (
            f"{self.message}. (The sessions of ray-engine are open to processes of the same user and ask for no token; "
            "what tokens are to Ray: https://docs.ray.io/en/latest/ray-security/token-auth.html)"
        )


class UserCodeException(RayError):
    """Wraps an exception of user code."""


class ObjectStoreFullError(RayError):
    """The store of this node is full of objects that are in use, or smaller than the object."""


class OutOfDiskError(RayError):
    """The store is full and the spill file cannot grow."""

    def __str__(self):
        text = "The object cannot be created because the local object store and the local disk are full."
        return f"{super().__str__()}\n{text}"


class OutOfMemoryError(RayError):
    """The node ran short of memory and the task was ended to free some."""

    def __init__(self, message: str):
        super().__init__(message)
        self.message = message


class ObjectLostError(RayError):
    """All copies of the object are gone."""

    EXPLANATION = "All copies of {ref} have been lost due to node failure."

    def __init__(self, object_ref_hex: str, owner_address: bytes | None = None, call_site: str = ""):
        super().__init__(object_ref_hex, owner_address, call_site)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        self.detail = ""  # what the engine knows beside the class: who died, where, why

    def _base_str(self) -> str:
        created = f" The ObjectRef was created at: {self.call_site}" if self.call_site else ""
        return f"Failed to retrieve object {self.object_ref_hex or '(unknown)'}.{created}"

    def __str__(self):
        parts = [self._base_str(), self.EXPLANATION.format(ref=self.object_ref_hex), self.detail]
        return "\n\n".join(part for part in parts if part)


class ObjectFetchTimedOutError(ObjectLostError):
    """No copy of the object was found in time."""

    EXPLANATION = "Fetch for object {ref} timed out because no locations were found for the object."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was freed though a reference was left."""

    EXPLANATION = "The object has already been deleted by the reference counting protocol. This should not happen."


class ObjectFreedError(ObjectLostError):
    """The program gave the object up with free()."""

    EXPLANATION = "The object was manually freed using the internal `free` call."


class OwnerDiedError(ObjectLostError):
    """The process that made the object has ended, and the object with it."""

    EXPLANATION = (
        "The object's owner has exited: the process that created the ObjectRef via `.remote()` or `ray.put()`."
    )


class ReconstructionFailure(enum.Enum):
    """Why an object could not be computed again."""

    MAX_ATTEMPTS_EXCEEDED = "the maximum number of task retries has been exceeded"
    LINEAGE_EVICTED = "its lineage has been evicted to reduce memory pressure"
    PUT = "it was created by ray.put(), which has no task lineage"
    RETRIES_DISABLED = "the task was created with max_retries=0"
    BORROWED = "it crossed an ownership boundary: only the owner of an object can compute it again"
    REF_NOT_FOUND = "its reference is unknown"
    TASK_CANCELLED = "the task that would produce it was cancelled"
    LINEAGE_DISABLED = "lineage reconstruction is disabled"


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and cannot be computed again; `reason` says why."""

    def __init__(
        self,
        object_ref_hex: str,
        reason: ReconstructionFailure | None = None,
        reason_message: str | None = None,
        owner_address: bytes | None = None,
        call_site: str = "",
    ):
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = reason
        self.reason_message = reason_message or f"The object cannot be reconstructed because {_reason_text(reason)}."
        self.args = (object_ref_hex, reason, reason_message, owner_address, call_site)

    def __str__(self):
        name = self.reason.name if self.reason else "UNKNOWN"
        lost = f"\n\n{self.detail}" if self.detail else ""
        return f"{self._base_str()}{lost}\n\n[{name}] {self.reason_message}"


def _reason_text(reason) -> str:
    return reason.value if reason else "of an unknown reason"


class GetTimeoutError(RayError, TimeoutError):
    """get(timeout=...) ran out of time."""


class PlasmaObjectNotAvailable(RayError):
    """The object is not in the store of this node."""


class AsyncioActorExit(RayError):
    """An async actor asked to be ended."""


class RuntimeEnvSetupError(RayError):
    """The environment that a task or actor asked for could not be made."""

    def __init__(self, error_message: str | None = None):
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self):
        return "\n".join(
            ["Failed to set up runtime environment.", *([self.error_message] if self.error_message else [])]
        )


class TaskPlacementGroupRemoved(RayError):
    """The placement group that the task was to run in has been removed."""

    def __str__(self):
        return "The placement group corresponding to this task has been removed."


class ActorPlacementGroupRemoved(RayError):
    """The placement group that the actor ran in has been removed."""

    def __str__(self):
        return "The placement group corresponding to this Actor has been removed."


class PendingCallsLimitExceeded(RayError):
    """The actor has max_pending_calls calls waiting already."""


class _Unschedulable(RayError):
    def __init__(self, error_message: str):
        super().__init__(error_message)
        self.error_message = error_message


class TaskUnschedulableError(_Unschedulable):
    """No node can ever run the task."""

    def __str__(self):
        return f"The task is not schedulable: {self.error_message}"


class ActorUnschedulableError(_Unschedulable):
    """No node can ever run the actor."""

    def __str__(self):
        return f"The actor is not schedulable: {self.error_message}"


class ObjectRefStreamEndOfStreamError(RayError):
    """The stream has no further item."""


class OufOfBandObjectRefSerializationException(RayError):
    """An ObjectRef was pickled outside of a task's arguments or values, which is switched off."""


class RayChannelError(RaySystemError):
    """A channel of a compiled graph failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph ran out of time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has as many executions in flight as it may."""


class RayDirectTransportError(RaySystemError):
    """A direct transfer of tensors failed."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator that was run again yielded something else."""


class RpcError(RayError):
    """A message to another process failed; kept for programs that catch it, nothing here raises it."""

    def __init__(self, message: str, rpc_code: int | None = None):
        super().__init__(message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self):
        return self.message


class UnserializableException(RayError):
    """An exception could not be unpickled; carries the text it had where it was raised."""

    def __init__(self, original_stack_trace: str):
        super().__init__(original_stack_trace)
        self._original_stack_trace = original_stack_trace

    def __str__(self):
        return f"Failed to deserialize exception.\nOriginal exception:\n{self._original_stack_trace}"


def _exception_types():
    return [kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, RayError)]


RAY_EXCEPTION_TYPES = [kind for kind in _exception_types() if not kind.__name__.startswith("_")]
