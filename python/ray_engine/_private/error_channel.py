"""The error channel: what goes wrong in a job beside its results, told to the job's driver by kind.

Whoever notices reports (report(), or ErrorReport of engine/wire/error_report.h); the head passes the report on to the
driver, which prints it (output.driver_line) and hands it to its listeners. Errors that are the value of an object which
nobody has read end here too, in the process that owns the object.

Lines that workers print take the same way, and have listeners of their own.

Thread-safe: what delivers runs on the engine's thread, listeners on any.
"""

import logging
import os
import queue
import re
import time
import weakref
from typing import Any, ClassVar

from ray_engine import _core
from ray_engine._private.session import session
from ray_engine.exceptions import TaskCancelledError

# The kinds, by the names that Ray's programs know. The engine's own: worker_died, excess_queueing_warning.
LARGE_DEFINITION = "pickling_large_object"
UNREACHABLE_ACTOR = "detached_actor_anonymous_namespace"

logger = logging.getLogger("ray")
_WRITER = re.compile(r"\((?:(?P<name>.*) )?pid=(?P<pid>\d+), ip=(?P<ip>[^)]*)\)")  # OutputService::PrefixOf


def report(kind: str, text: str):
    """Tells the driver of this process's job."""
    _core.report_error(kind, text)


def deliver(kind: str, text: str):
    """At the driver: hands a report to those who listen."""
    error = {"type": kind, "error_message": text, "job_id": session.job_id.binary(), "timestamp": time.time()}
    ErrorListener.tell_all(error)


def deliver_lines(is_stderr: bool, prefix: str, lines: list[str]):
    """At the driver: hands lines that a worker wrote, with what the engine puts in front, to those who listen."""
    writer = _WRITER.fullmatch(prefix) if lines and LogListener.any() else None
    if writer is None:
        return
    who = {"name": writer["name"] or "", "pid": int(writer["pid"]), "ip": writer["ip"]}
    LogListener.tell_all({**who, "job": session.job_id.hex(), "is_err": is_stderr, "lines": lines})


class _Listener:
    """Receives what its class is told from now on."""

    _listening: ClassVar[weakref.WeakSet["_Listener"]]

    def __init_subclass__(cls):
        cls._listening = weakref.WeakSet()

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._listening.add(self)

    def poll(self, timeout: float | None = None) -> dict[str, Any] | None:
        """The next item; None if none came within `timeout` seconds (None: waits for one)."""
        try:
            return self._items.get(timeout=None if timeout is None else max(timeout, 0))
        except queue.Empty:
            return None

    def close(self) -> None:
        """Receives nothing from now on."""
        self._listening.discard(self)

    @classmethod
    def any(cls) -> bool:
        """Whether somebody listens."""
        return len(cls._listening) > 0

    @classmethod
    def tell_all(cls, item: dict[str, Any]) -> None:
        for listener in list(cls._listening):
            listener._items.put(item)


class ErrorListener(_Listener):
    """Of what is reported. Each error is a dict: type, error_message, job_id, timestamp."""


class LogListener(_Listener):
    """Of lines that workers of this job write, as they come, several at a time, unless init(log_to_driver=False) keeps
    them away. Each item is a dict: name (of the task or actor), pid, ip, job (id in hex), is_err, lines."""


# ---- exceptions that nobody has seen --------------------------------------------------------------------------------


def log_unseen(error: BaseException):
    logger.error("Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'): %s", error)


on_unseen = log_unseen  # called with each exception of a task whose last reference went before anybody looked


def unseen(encoded: bytes):
    """The last reference to a result has gone that is an exception, encoded as errors.make_error() does it."""
    from ray_engine._private.errors import decode

    if "RAY_IGNORE_UNHANDLED_ERRORS" in os.environ:
        return
    error = decode(encoded)
    if not isinstance(error, TaskCancelledError):  # whoever cancelled it knows
        on_unseen(error)
