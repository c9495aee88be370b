"""free(): values that a program gives up though it holds references to them. memory_summary(): what stores hold."""

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


def memory_summary(address: str | None = None, stats_only: bool = False, **options: Any) -> str:
    """What the object stores of all nodes hold, have spilled and have brought back, a line each (sizes in MiB).

    The tables of Ray's `ray memory` are not part of it: `ray.util.state.list_objects()` has their rows. So the
    arguments change nothing. Raises RuntimeError where the process is not connected.
    """
    session.check_connected()
    stores = _core.store_rows()
    total = {
        name: sum(row[name] for row in stores) for name, value in stores[0].items() if isinstance(value, (int, float))
    }
    lines = [
        "--- Object stores of all nodes ---",
        f"Plasma memory usage {_mib(total['used'])} MiB, {total['objects']} objects, "
        f"{round(100 * total['used'] / total['size'], 2)}% full, {_mib(total['pinned'])} MiB pinned",
    ]
    for what, seconds in ("spilled", total["spill_s"]), ("restored", total["restore_s"]):
        if total[what]:
            rate = total[what] / max(seconds, 1e-9)
            lines.append(
                f"{what.capitalize()} {_mib(total[what])} MiB, {total[f'{what}_objects']} objects, {_mib(rate)} MiB/s"
            )
    if total["spilled"]:
        lines.append(
            f"On disk {_mib(total['on_disk'])} MiB, {total['on_disk_objects']} objects, "
            f"in files of {_mib(total['file_size'])} MiB"
        )
    if total["creates_queued"]:
        lines.append(f"{total['creates_queued']} new objects wait for memory")
    if total["fetches_queued"]:
        lines.append(f"{total['fetches_queued']} fetches queued, waiting for memory")
    lines += [f"Node {row['node_id']}: {row['problem']}" for row in stores if row["problem"]]
    return "\n".join(lines) + "\n"


def _mib(size: float) -> int:
    return int(size) >> 20
