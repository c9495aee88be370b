"""Where objects are."""

from typing import Any

from ray_engine import _core
from ray_engine._private.ids import NodeID
from ray_engine._private.session import session


def get_object_locations(
    obj_refs: list[_core.ObjectRef[Any]], timeout_ms: int = -1
) -> dict[_core.ObjectRef[Any], dict[str, Any]]:
    """Reference -> its place: {"node_ids": [...], "object_size": bytes, "did_spill": bool}.

    `node_ids`: of the nodes that hold the object, in hex. `did_spill`: a node short of memory has it on disk alone.
    A small object is held by the process that made it. An object that is not there yet has no nodes and the size None.
    This is what its owner knows; for an object of another process, its place is waited for, `timeout_ms` at most
    (GetTimeoutError), and only the node of its primary copy is told.
    """
    _check_connected()
    foreign = [ref for ref in obj_refs if not _core.is_own(ref)]
    if foreign:
        _wait_for_places(foreign, timeout_ms)
    locations = _locations(obj_refs)
    if any(place["node_ids"] for place in locations.values()):
        spilled = {name for name, _ in _core.spilled_rows()}
        for ref, place in locations.items():
            place["did_spill"] = ref.hex() in spilled
    return locations


def get_local_object_locations(obj_refs: list[_core.ObjectRef[Any]]) -> dict[_core.ObjectRef[Any], dict[str, Any]]:
    """The same, without asking any other process; so it is not known what has been spilled."""
    _check_connected()
    return _locations(obj_refs)


def _check_connected():
    if not session.connected:
        raise RuntimeError("Ray hasn't been initialized.")


def _wait_for_places(refs, timeout_ms):
    from ray_engine.exceptions import GetTimeoutError

    timeout = None if timeout_ms < 0 else timeout_ms / 1000
    _, missing = _core.wait(refs, num_returns=len(refs), timeout=timeout, fetch_local=False)
    if missing:
        raise GetTimeoutError(f"Their owners have not told the places of {len(missing)} objects in {timeout_ms} ms.")


def _locations(refs) -> dict:
    places = _core.places(refs)
    ids = {node["index"]: NodeID(node["id"]).hex() for node in _core.cluster()} if places else {}
    return {
        ref: {
            "node_ids": [ids[node] for node in nodes if node in ids],
            "object_size": size if nodes else None,
            "did_spill": False,
        }
        for ref, (nodes, size) in zip(refs, places, strict=True)
    }
