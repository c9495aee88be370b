"""What programs ask about the cluster: its nodes, and the resources that exist and are free."""

from typing import Any

from ray_engine import _core
from ray_engine._private.ids import NodeID
from ray_engine._private.session import session


def nodes() -> list[dict[str, Any]]:
    """One dictionary per node, living or dead, with the keys that Ray gives them.

    Among them NodeID (hex), Alive, NodeManagerAddress, NodeManagerHostname, NodeName, Resources ({name: amount}, memory
    in bytes), Labels and DeathReasonMessage. Raises RaySystemError where the process is in no session.
    """
    session.check_connected()
    return [_describe(node) for node in _core.cluster()]


def _describe(node) -> dict:
    alive = bool(node["alive"])
    return {
        "NodeID": NodeID(node["id"]).hex(),
        "Alive": alive,
        "alive": alive,
        "NodeManagerAddress": node["address"],
        "NodeManagerHostname": node["hostname"],
        "NodeManagerPort": 0,
        "ObjectManagerPort": 0,
        "ObjectStoreSocketName": _socket_name(node["index"]),
        "RayletSocketName": _socket_name(node["index"]),
        "MetricsExportPort": 0,
        "MetricsAgentPort": 0,
        "DashboardAgentListenPort": 0,
        "NodeName": node["name"] or node["address"],
        "RuntimeEnvAgentPort": 0,
        "DeathReason": 0 if alive else 1,
        "DeathReasonMessage": node["death_reason"],
        "Resources": dict(node["total"]) if alive else {},
        "Labels": dict(node["labels"]),
    }


def _socket_name(index) -> str:
    """Sockets of the nodes of a session differ in the index at their end."""
    return f"{session.info['socket_name'].rpartition('/')[0]}/{index}"


def cluster_resources() -> dict[str, float]:
    """The resources of all living nodes: {name: amount}, memory in bytes.

    Raises RaySystemError where the process is in no session.
    """
    return _sum("total")


def available_resources() -> dict[str, float]:
    """The resources of all living nodes that nothing holds at the moment. What is used up is left out.

    Raises RaySystemError where the process is in no session.
    """
    return {name: amount for name, amount in _sum("available").items() if amount > 0}


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """When tasks ran, as events for a trace viewer (chrome://tracing, ui.perfetto.dev).

    Returns the list of events; with a `filename` writes it there as JSON, and returns None. A task that runs, or ended
    among the last 1,000 of the process that submitted it, is one event: "name", "cat" ("task::NAME"), "ts" (start) and
    "dur" in microseconds since 1970 by the clock of its node, "pid" (the node's address), "tid" ("worker:ID"), and ids
    in "args". One that has ended is followed by its parts, whose "cat" is "task:deserialize_arguments" (until all of
    them were there), "task:execute" and "task:store_outputs"; a part too short to be measured has no length. Raises
    RaySystemError where the process is in no session.
    """
    from ray_engine._private import trace

    session.check_connected()
    events = trace.events()
    if filename is None:
        return events
    trace.write(filename, events)
    return None


def _sum(which) -> dict:
    session.check_connected()
    result: dict[str, float] = {}
    for node in _core.cluster():
        if node["alive"]:
            for name, amount in dict(node[which]).items():
                if "_group_" not in name:  # the bundles of placement groups
                    result[name] = result.get(name, 0.0) + amount
    return result
