"""free(): values that a program gives up though it holds references to them. memory_summary(): who holds what."""

from __future__ import annotations

from typing import Any

from ray_engine import _core
from ray_engine._private import memory_report, unavailable
from ray_engine._private.session import session
from ray_engine.util.state import rows


def free(object_refs: _core.ObjectRef[Any] | list[_core.ObjectRef[Any]], local_only: bool = False) -> None:
    """Drops the values of these objects everywhere; who reads one from now on gets ObjectFreedError.

    An object that is being read keeps its memory until then. One that is not there yet, or is an error, stays as it is.
    Raises TypeError for anything but references; `local_only` is not available.
    """
    if isinstance(object_refs, _core.ObjectRef):
        object_refs = [object_refs]
    if not isinstance(object_refs, list):
        raise TypeError(f"free() expects a list of ObjectRef, got {type(object_refs)}")
    for ref in object_refs:
        if not isinstance(ref, _core.ObjectRef):
            raise TypeError(f"Attempting to call `free` on the value {ref}, which is not an ray.ObjectRef.")
    if local_only:
        raise unavailable.option("local_only", local_only)
    session.check_connected()
    for ref in object_refs:
        _core.free(ref)


def memory_summary(
    address: str | None = None,
    redis_password: str | None = None,
    group_by: str = "NODE_ADDRESS",
    sort_by: str = "OBJECT_SIZE",
    units: str = "B",
    line_wrap: bool = True,
    stats_only: bool = False,
    num_entries: int | None = None,
) -> str:
    """Which process holds which object, from which line of code, and what the object stores of all nodes hold.

    - group_by: "NODE_ADDRESS" or "STACK_TRACE"; sort_by: "OBJECT_SIZE", "PID" or "REFERENCE_TYPE".
    - stats_only: only what the stores hold, have spilled and have brought back.
    - num_entries: lines of a group at the most; None: all.

    The line of code is known where RAY_ENGINE_RECORD_CALL_SITES=1 is in the environment of the program. The other
    arguments are there for programs that give them, and change nothing. Raises RaySystemError where the process is not
    connected, ValueError for other names.
    """
    session.check_connected()
    stores = memory_report.stores(_core.store_rows())
    if stats_only:
        return stores
    held = rows.references(_core.reference_rows(), _core.worker_rows(), _core.cluster())
    return memory_report.references(held, group_by, sort_by, num_entries) + "\n" + stores
