"""The error channel: what goes wrong in a job beside its results, told to the job's driver by kind.

Whoever notices reports (report(), or ErrorReport of engine/wire/error_report.h); the head passes the report on to the
driver, which prints it (output.driver_line) and hands it to its listeners. Errors that are the value of an object which
nobody has read end here too, in the process that owns the object.

Thread-safe: deliver() and unseen() run on the engine's thread, listeners on any.
"""

import logging
import os
import queue
import time
import weakref
from typing import Any

from ray_engine import _core
from ray_engine._private.session import session
from ray_engine.exceptions import TaskCancelledError

# The kinds, by the names that Ray's programs know. The engine's own: worker_died, excess_queueing_warning.
LARGE_DEFINITION = "pickling_large_object"

logger = logging.getLogger("ray")
_listeners: weakref.WeakSet["ErrorListener"] = weakref.WeakSet()


def report(kind: str, text: str):
    """Tells the driver of this process's job."""
    _core.report_error(kind, text)


def deliver(kind: str, text: str):
    """At the driver: hands a report to those who listen."""
    error = {"type": kind, "error_message": text, "job_id": session.job_id.binary(), "timestamp": time.time()}
    for listener in list(_listeners):
        listener._errors.put(error)


class ErrorListener:
    """Receives what is reported from now on. Each error is a dict: type, error_message, job_id, timestamp."""

    def __init__(self):
        self._errors: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        _listeners.add(self)

    def poll(self, timeout: float | None = None):
        """The next error; None if none came within `timeout` seconds (None: waits for one)."""
        try:
            return self._errors.get(timeout=None if timeout is None else max(timeout, 0))
        except queue.Empty:
            return None

    def close(self):
        """Receives nothing from now on."""
        _listeners.discard(self)


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
