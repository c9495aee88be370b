"""From what the engine answers to the rows that people see.

The engine's rows (python/bindings/state.cc) carry the names of the fields; here is what differs: numbers that stand for
words, and what comes from more than one row.
"""

from ray_engine._private.ids import JobID, NodeID, PlacementGroupID
from ray_engine.util.state.common import (
    ACTOR_STATES,
    EXIT_TYPES,
    GROUP_STATES,
    TASK_STATES,
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    TaskState,
    WorkerState,
)

_RUNNING = TASK_STATES.index("RUNNING")


def actor(row: dict) -> ActorState:
    return ActorState.of(row, state=ACTOR_STATES[row["state"]])


def node(index: int, row: dict) -> NodeState:
    """`row` as of ray.nodes()."""
    return NodeState(
        node_id=row["NodeID"],
        node_ip=row["NodeManagerAddress"],
        is_head_node=index == 0,
        state="ALIVE" if row["Alive"] else "DEAD",
        state_message=row["DeathReasonMessage"] or None,
        node_name=row["NodeName"],
        resources_total=row["Resources"],
        labels=row["Labels"],
    )


def job(row: dict) -> JobState:
    return JobState.of(row, status="FINISHED" if row["end_time"] else "RUNNING")


def placement_group(row: dict) -> PlacementGroupState:
    id = PlacementGroupID(row["id"])
    bundles = [
        {"bundle_index": index, "unit_resources": resources, "node_id": node or None}
        for index, (resources, node) in enumerate(zip(row["bundles"], row["nodes"], strict=True))
    ]
    return PlacementGroupState(
        placement_group_id=id.hex(),
        name=row["name"],
        creator_job_id=JobID(id.binary()[-JobID.size() :]).hex(),
        state=GROUP_STATES[row["state"]],
        is_detached=row["detached"],
        bundles=bundles,
    )


def worker(row: dict) -> WorkerState:
    return WorkerState.of(row, worker_type=_process_type(row), exit_type=EXIT_TYPES[row["exit_type"]])


def _process_type(worker: dict | None) -> str:
    return "DRIVER" if worker and worker["is_driver"] else "WORKER"


def tasks(found: list[dict], processes: list[dict], actors: list[dict]) -> list[TaskState]:
    """One row per task: its owner tells what it is, the worker that it runs."""
    by_process = {row["process"]: row for row in processes}
    class_of = {row["actor_id"]: row["class_name"] for row in actors}
    return [_task(row, by_process.get(row["process"]), class_of.get(row["actor_id"])) for row in merged(found)]


def merged(found: list[dict]) -> list[dict]:
    """The rows of tasks, those of an owner and of the worker that runs the task put together."""
    by_task: dict[str, dict] = {}
    for row in found:
        known = by_task.setdefault(row["task_id"], row)
        if known is row:
            continue
        of_owner, of_worker = (known, row) if row["state"] == _RUNNING else (row, known)
        # What an owner knows of an end is newer than that the task runs; a push is older.
        state = max(of_owner["state"], of_worker["state"])
        started_ns = of_owner["started_ns"] or of_worker["started_ns"]
        by_task[row["task_id"]] = {**of_owner, "state": state, "started_ns": started_ns}
    return list(by_task.values())


def _task(row: dict, process: dict | None, class_name: str | None) -> TaskState:
    error_type, error_message = _error(row)
    name = row["name"] if class_name is None or "." in row["name"] else f"{class_name}.{row['name']}"
    return TaskState.of(
        row,
        name=name,
        func_or_class_name=name,
        type=_type(row),
        state=TASK_STATES[row["state"]],
        node_id=process and process["node_id"],
        worker_id=process and process["worker_id"],
        worker_pid=process and process["pid"],
        error_type=error_type,
        error_message=error_message,
        start_time_ms=_milliseconds(row["started_ns"]),
        end_time_ms=_milliseconds(row["ended_ns"]),
    )


def _milliseconds(ns: int) -> int | None:
    return ns // 1_000_000 if ns else None


def _type(row: dict) -> str:
    if row["name"].endswith(".__init__"):
        return "ACTOR_CREATION_TASK"
    return "ACTOR_TASK" if row["actor_id"] else "NORMAL_TASK"


def references(found: list[dict], processes: list[dict], nodes: list[dict]) -> list[ObjectState]:
    by_process = {row["process"]: row for row in processes}
    node_at = {node["index"]: NodeID(node["id"]).hex() for node in nodes}
    return [_reference(row, by_process.get(row["process"]), node_at) for row in found]


def _reference(row: dict, process: dict | None, node_at: dict[int, str]) -> ObjectState:
    return ObjectState.of(
        row,
        object_size=row["object_size"] if row["ready"] else -1,
        task_status="FINISHED" if row["ready"] else "PENDING",
        reference_type=_reference_type(row),
        type=_process_type(process),
        node_id=process and process["node_id"],
        pid=process and process["pid"],
        call_site=row["call_site"] or "disabled",
        node_ids=[node_at[index] for index in row["nodes"] if index in node_at],
    )


def _reference_type(row: dict) -> str:
    if row["actor_handle"]:
        return "ACTOR_HANDLE"
    if row["submitted"]:
        return "USED_BY_PENDING_TASK"
    if row["local_references"]:
        return "LOCAL_REFERENCE"
    return "CAPTURED_IN_OBJECT" if row["contained"] else "BORROWED"


def _error(row: dict) -> tuple[str | None, str | None]:
    if TASK_STATES[row["state"]] != "FAILED":
        return None, None
    if not row["error_message"]:
        return "TASK_EXECUTION_EXCEPTION", None
    kind, text, detail = row["error_message"].split(b"\0", 2)
    if kind == b"RayTaskError":  # an argument was an error of the engine's
        kind, text, _ = detail.split(b"\0", 2)
    return kind.decode(), text.decode(errors="replace")
