"""The report of `ray-engine status`: nodes, resources in use, and what waits and why. The layout is that of Ray.

Made of plain rows, without a session. Immutable: functions of their arguments.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray_engine.util.state.common import GROUP_STATES

_BYTES = ("memory", "object_store_memory")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")
_WAITING_GROUPS = [GROUP_STATES.index("PENDING"), GROUP_STATES.index("RESCHEDULING")]

Row = dict[str, Any]


def report(nodes: list[Row], demands: list[Row], groups: list[Row], time: str, verbose: bool = False) -> str:
    """The report as text.

    - nodes, demands, groups: the rows of _core.cluster(), _core.demand_rows() and _core.groups().
    - verbose: also what each node has and how much of it is in use.
    """
    header = f"======== Cluster status: {time} ========"
    line = "-" * len(header)
    living = [node for node in nodes if node["alive"]]
    lost = [f" {_name(node)}: {node['death_reason']}" for node in nodes if not node["alive"]]
    parts = [
        header,
        "Node status",
        line,
        "Active:",
        *([f" 1 {_name(node)}" for node in living] or [" (no active nodes)"]),
        "Pending:",
        " (no pending nodes)",
        "Recent failures:",
        *(lost or [" (no failures)"]),
        "",
        "Resources",
        line,
        "Total Usage:",
        *(_usage(living) or [" (no resources)"]),
        "From request_resources:",
        " (none)",
        "Pending Demands:",
        *([*_waiting_leases(demands), *_waiting_groups(groups)] or [" (no resource demands)"]),
    ]
    if verbose:
        for node in living:
            usage = [f" {line}" for line in _usage([node])]
            parts += ["", f"Node: {_name(node)} ({node['hostname']})", " Usage:", *usage]
    return "\n".join(parts)


def _name(node: Row) -> str:
    return f"node_{node['id'].hex()}"


def _usage(nodes: list[Row]) -> list[str]:
    total: dict[str, float] = {}
    used: dict[str, float] = {}
    for node in nodes:
        for name, amount in node["total"].items():
            if "_group_" in name or name.startswith("node:"):  # bundles of placement groups; names of nodes
                continue
            total[name] = total.get(name, 0) + amount
            used[name] = used.get(name, 0) + amount - node["available"].get(name, 0)
    for name, amount in _in_bundles(nodes).items():
        used[name] = used.get(name, 0) - amount
    return [f" {_amount(name, max(used[name], 0))}/{_amount(name, total[name])} {name}" for name in sorted(total)]


def _in_bundles(nodes: list[Row]) -> dict[str, float]:
    """What placement groups have reserved and nobody uses."""
    free: dict[str, float] = {}
    for node in nodes:
        for name, amount in node["available"].items():
            base, bundle = _base(name), name.partition("_group_")[2]
            if bundle.count("_") == 1:  # number and group: each bundle once
                free[base] = free.get(base, 0) + amount
    return free


def _base(name: str) -> str:
    """CPU for CPU_group_0_1234 and CPU_group_1234."""
    return name.partition("_group_")[0]


def _amount(name: str, amount: float) -> str:
    if name not in _BYTES:
        return f"{float(amount)}"
    unit = 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.2f}{_UNITS[unit]}" if unit else f"{int(amount)}B"


def _waiting_leases(demands: list[Row]) -> list[str]:
    """One line for each set of resources, and under it why no node serves it now."""
    lines: dict[str, list[Any]] = {}  # resources as text -> [how many, of them in placement groups, reasons]
    for demand in demands:
        resources: dict[str, float] = {}
        for name, amount in demand["resources"].items():
            if _base(name) != "bundle":  # a place in a bundle for what needs no resource
                resources[_base(name)] = max(amount, resources.get(_base(name), 0))
        known = lines.setdefault(str(resources), [0, 0, {}])
        known[0] += demand["count"]
        known[1] += demand["count"] if any("_group_" in name for name in demand["resources"]) else 0
        known[2].update(dict.fromkeys(demand["refusals"].splitlines()))
    found = []
    for text, (count, grouped, reasons) in lines.items():
        using = f" ({grouped}+ using placement groups)" if grouped else ""
        found += [f" {text}: {count}+ pending tasks/actors{using}", *(f"   {reason}" for reason in reasons)]
    return found


def _waiting_groups(groups: list[Row]) -> list[str]:
    waiting: dict[str, int] = {}
    for group in groups:
        if group["state"] in _WAITING_GROUPS:
            text = f"{_bundles(group['bundles'])} ({_STRATEGIES[group['strategy']]})"
            waiting[text] = waiting.get(text, 0) + 1
    return [f" {text}: {count}+ pending placement groups" for text, count in waiting.items()]


def _bundles(bundles: Iterable[dict[str, float]]) -> str:
    counts: dict[str, int] = {}
    for bundle in bundles:
        counts[str(dict(bundle))] = counts.get(str(dict(bundle)), 0) + 1
    return ", ".join(f"{bundle} * {count}" for bundle, count in counts.items())
