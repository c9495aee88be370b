"""The events of timeline(): tasks and their parts as bars, in the trace format of Chrome."""

import json
import time
from collections.abc import Iterator

from ray_engine import _core
from ray_engine.util.state import rows
from ray_engine.util.state.common import TaskState

_GOOD, _BAD, _PART = "generic_work", "terrible", "rail_response"  # colours of the viewer


def events() -> list[dict]:
    """One event per task whose start is known, and one for each of the parts of one that has ended; a task that runs
    lasts until now."""
    found = _core.task_rows()
    workers = {row["worker_id"]: row for row in _core.worker_rows()}
    addresses = {node["id"].hex(): node["address"] for node in _core.cluster()}
    by_id = {row["task_id"]: row for row in rows.merged(found)}
    states = rows.tasks(found, list(workers.values()), _core.actor_rows())
    result: list[dict] = []
    for state in states:
        if by_id[state.task_id]["started_ns"]:
            result.extend(_events(state, by_id[state.task_id], addresses.get(state.node_id or "", "")))
    return result


def _events(state: TaskState, row: dict, address: str) -> Iterator[dict]:
    place = {"pid": address, "tid": f"worker:{state.worker_id or 'unknown'}"}
    started, ended = row["started_ns"] / 1000, (row["ended_ns"] or time.time_ns()) / 1000
    colour = _GOOD if state.error_type is None else _BAD
    ids = {
        "task_id": state.task_id,
        "job_id": state.job_id,
        "attempt_number": state.attempt_number,
        "func_or_class_name": state.func_or_class_name,
        "actor_id": state.actor_id,
        "state": state.state,
    }
    yield _bar(f"task::{state.name}", state.name, place, started, ended, colour, ids)
    if not row["ended_ns"]:
        return
    called, returned = started + row["args_us"], ended - row["results_us"]
    for name, since, until in (
        ("task:deserialize_arguments", started, called),
        ("task:execute", called, returned),
        ("task:store_outputs", returned, ended),
    ):
        yield _bar(name, name, place, since, until, _PART, {"task_id": state.task_id, "name": state.name})


def _bar(category: str, name: str, place: dict, since: float, until: float, colour: str, args: dict) -> dict:
    """`since` and `until` in microseconds since 1970."""
    times = {"ts": since, "dur": max(until - since, 0)}
    return {"cat": category, "name": name, **place, **times, "ph": "X", "cname": colour, "args": args}


def write(filename: str, found: list[dict]) -> None:
    with open(filename, "w") as file:
        json.dump(found, file)
