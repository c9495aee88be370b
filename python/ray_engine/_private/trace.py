"""The events of timeline(): tasks as bars, in the trace format of Chrome."""

import json
import time

from ray_engine import _core
from ray_engine.util.state import rows
from ray_engine.util.state.common import TaskState


def events() -> list[dict]:
    """One event per task whose start is known; a task that runs lasts until now."""
    found = _core.task_rows()
    workers = {row["worker_id"]: row for row in _core.worker_rows()}
    addresses = {node["id"].hex(): node["address"] for node in _core.cluster()}
    times = {row["task_id"]: (row["started_ns"], row["ended_ns"]) for row in rows.merged(found)}
    now = time.time_ns()
    states = rows.tasks(found, list(workers.values()), _core.actor_rows())
    return [
        _event(state, addresses.get(state.node_id or "", ""), *times[state.task_id], now)
        for state in states
        if times[state.task_id][0]
    ]


def _event(state: TaskState, address: str, started_ns: int, ended_ns: int, now: int) -> dict:
    return {
        "cat": f"task::{state.name}",
        "name": state.name,
        "pid": address,
        "tid": f"worker:{state.worker_id or 'unknown'}",
        "ts": started_ns / 1000,
        "dur": max((ended_ns or now) - started_ns, 0) / 1000,
        "ph": "X",
        "cname": "generic_work" if state.error_type is None else "terrible",
        "args": {
            "task_id": state.task_id,
            "job_id": state.job_id,
            "attempt_number": state.attempt_number,
            "func_or_class_name": state.func_or_class_name,
            "actor_id": state.actor_id,
            "state": state.state,
        },
    }


def write(filename: str, found: list[dict]) -> None:
    with open(filename, "w") as file:
        json.dump(found, file)
