"""The report of `ray-engine memory`: what the stores hold, and who holds which object and from which line of code.

Made of plain rows, without a session. Immutable: functions of their arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray_engine.util.state.common import ObjectState

Row = dict[str, Any]

_GROUPS: dict[str, tuple[str, Callable[[ObjectState], str]]] = {
    "NODE_ADDRESS": ("node", lambda row: row.node_id or "?"),
    "STACK_TRACE": ("call site", lambda row: row.call_site),
}
_SORTS: dict[str, Callable[[ObjectState], Any]] = {
    "OBJECT_SIZE": lambda row: (-row.object_size, row.object_id),
    "PID": lambda row: (row.pid or 0, -row.object_size),
    "REFERENCE_TYPE": lambda row: (row.reference_type, -row.object_size),
}
_DROPPED = {
    "unauthenticated": "from strangers or nodes that were given up",
    "malformed": "malformed",
    "unreachable": "for nodes that are not connected",
}
_COLUMNS = ("PID", "Type", "Status", "Size", "Reference Type", "In Store", "Object Ref", "Call Site")


def stores(rows: list[Row]) -> str:
    """What the stores hold, have spilled and have brought back, a line each (sizes in MiB)."""
    total = _total(rows)
    lines = [
        "--- Object stores of all nodes ---",
        f"Plasma memory usage {_mib(total['used'])} MiB, {total['objects']} objects, "
        f"{round(100 * total['used'] / total['size'], 2)}% full, {_mib(total['pinned'])} MiB pinned",
    ]
    if total["in_chunks"] or total["in_arrays"]:
        lines.append(
            f"Reserved, part of this: {_mib(total['in_chunks'])} MiB in chunks for small objects, "
            f"{_mib(total['in_arrays'])} MiB in arrays that are not stored yet"
        )
    lines.append(
        f"Free {_mib(total['size'] - total['used'])} MiB; between objects {total['free_ranges']} ranges; "
        f"longest {_mib(max(row['largest_free'] for row in rows))} MiB"
    )
    lines.append(
        f"Resident {_mib(total['resident'])} MiB; page tables of {total['processes']} processes and the engines "
        f"{total['page_tables'] / 2**20:.1f} MiB; {total['links']} links between processes"
    )
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
    lines += [f"Node {row['node_id']}: {row['problem']}" for row in rows if row["problem"]]
    moved = [_moved(row) for row in rows if any(row["network"].values())]
    if moved:
        lines += ["--- Between nodes, since they started ---", *moved]
    return "\n".join(lines) + "\n"


def _total(rows: list[Row]) -> Row:
    return {name: sum(row[name] for row in rows) for name, value in rows[0].items() if isinstance(value, (int, float))}


def _moved(row: Row) -> str:
    network = row["network"]
    text = (
        f"Node {row['node_id']}: sent {row['served_objects']} objects, {_mib(network['object_bytes_sent'])} MiB, and "
        f"{network['messages_sent']} messages in {network['batches_sent']} batches; received {row['pulled_objects']} "
        f"objects, {_mib(network['object_bytes_received'])} MiB, and {network['messages_received']} messages in "
        f"{network['batches_received']} batches"
    )
    if row["sent_on"]:
        text += f"; sent {row['sent_on']} requests on to nodes that were getting the object"
    troubles = {"pulls that failed": row["pulls_failed"], "nodes lost": network["nodes_lost"]} | {
        f"messages dropped, {why}": network[f"dropped_{name}"] for name, why in _DROPPED.items()
    }
    return text + "".join(f"; {count} {what}" for what, count in troubles.items() if count)


def references(rows: list[ObjectState], group_by: str, sort_by: str, limit: int | None) -> str:
    """A table for each group: a line for each object and process that holds it.

    - group_by: NODE_ADDRESS, of the process that holds, or STACK_TRACE; sort_by: OBJECT_SIZE, PID or REFERENCE_TYPE.
    - limit: lines in each table; None: all.

    Raises ValueError for anything else.
    """
    if group_by not in _GROUPS or sort_by not in _SORTS:
        raise ValueError(
            f"group_by is one of {', '.join(_GROUPS)} and sort_by one of {', '.join(_SORTS)}, "
            f"got {group_by!r} and {sort_by!r}"
        )
    name, key = _GROUPS[group_by]
    groups: dict[str, list[ObjectState]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    by_bytes = sorted(groups.items(), key=lambda group: -_bytes(group[1]))
    return "\n".join(_group(f"{name} {value}", held, _SORTS[sort_by], limit) for value, held in by_bytes)


def _group(title: str, rows: list[ObjectState], sort: Callable[[ObjectState], Any], limit: int | None) -> str:
    shown = sorted(rows, key=sort)[:limit]
    table = [_COLUMNS, *(_cells(row) for row in shown)]
    widths = [max(len(line[column]) for line in table) for column in range(len(_COLUMNS) - 1)]
    lines = [" | ".join([*map(str.ljust, line, widths), line[-1]]) for line in table]
    if len(shown) < len(rows):
        lines.append(f"... and {len(rows) - len(shown)} more")
    return f"--- References of {title}: {len(rows)}, to {_bytes(rows)} bytes ---\n" + "\n".join(lines) + "\n"


def _cells(row: ObjectState) -> tuple[str, ...]:
    size = str(row.object_size) if row.object_size >= 0 else "?"
    stored = ",".join(node[:8] for node in row.node_ids) or "-"
    return (
        str(row.pid or "-"),
        row.type,
        row.task_status,
        size,
        row.reference_type,
        stored,
        row.object_id,
        row.call_site,
    )


def _bytes(rows: list[ObjectState]) -> int:
    """Of the objects, each once."""
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.object_id] = max(row.object_size, sizes.get(row.object_id, 0))
    return sum(sizes.values())


def _mib(size: float) -> int:
    return int(size) >> 20
