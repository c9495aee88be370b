"""What programs say and ask about objects below the level of references: free(), memory_summary()."""

from __future__ import annotations

from typing import Any

from ray_engine import _core
from ray_engine._private import unavailable
from ray_engine._private.session import session


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


_UNITS = {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_ORDERS = {"OBJECT_SIZE": "object_size", "PID": "pid", "REFERENCE_TYPE": "reference_type"}
_MOST_ROWS = 10_000


def memory_summary(
    address: str | None = None,
    *,
    sort_by: str = "OBJECT_SIZE",
    units: str = "B",
    stats_only: bool = False,
    num_entries: int | None = None,
) -> str:
    """A text about the objects of a session: one line per process and object, then what the stores hold together.

    - address: of the session; this process's own if None.
    - sort_by: OBJECT_SIZE, PID or REFERENCE_TYPE; the largest first. units: B, KB, MB or GB.
    - stats_only: without the lines. num_entries: so many of them (all).

    Raises ValueError for other values.
    """
    from ray_engine.util.state import list_objects

    if units not in _UNITS or sort_by not in _ORDERS:
        raise ValueError(f"units must be one of {list(_UNITS)} and sort_by one of {list(_ORDERS)}")
    rows = list_objects(address=address, limit=_MOST_ROWS)
    stored = {row.object_id: row.object_size for row in rows if row.is_stored}
    total = f"Plasma memory usage {sum(stored.values()) >> 20} MiB, {len(stored)} objects\n"
    if stats_only:
        return total
    rows.sort(key=lambda row: getattr(row, _ORDERS[sort_by]) or 0, reverse=True)
    lines = [f"{'node':56}  {'pid':>8}  {'type':6}  {'size (' + units + ')':>16}  {'reference':20}  object"]
    for row in rows[:num_entries]:
        size = f"{row.object_size / _UNITS[units]:.0f}" if row.object_size >= 0 else "?"
        lines.append(
            f"{row.node_id or '':56}  {row.pid or '':>8}  {row.type:6}  {size:>16}  {row.reference_type:20}  "
            + row.object_id
        )
    return "\n".join(lines) + "\n\n" + total
