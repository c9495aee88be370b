"""From what the engine answers to the rows that people see."""

from ray_engine._private.ids import JobID, PlacementGroupID
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


def actors(found) -> list:
    return [_actor(row) for row in found]


def _actor(row) -> ActorState:
    return ActorState(
        actor_id=row["actor_id"],
        class_name=row["class_name"],
        state=ACTOR_STATES[row["state"]],
        job_id=row["job_id"],
        name=row["name"],
        node_id=row["node_id"] or None,
        pid=row["pid"],
        ray_namespace=row["ray_namespace"],
        is_detached=row["is_detached"],
        placement_group_id=row["placement_group_id"] or None,
        num_restarts=row["num_restarts"],
        death_cause=row["death_cause"] or None,
        required_resources=row["required_resources"],
    )


def nodes(found) -> list:
    """`found` as of ray.nodes()."""
    return [_node(index, row) for index, row in enumerate(found)]


def _node(index, row) -> NodeState:
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


def jobs(found) -> list:
    return [_job(row) for row in found]


def _job(row) -> JobState:
    return JobState(
        job_id=row["job_id"],
        status="FINISHED" if row["end_time_ms"] else "RUNNING",
        entrypoint=row["entrypoint"],
        ray_namespace=row["ray_namespace"],
        driver_pid=row["driver_pid"],
        start_time=row["start_time_ms"],
        end_time=row["end_time_ms"] or None,
    )


def placement_groups(found) -> list:
    return [_placement_group(row) for row in found]


def _placement_group(row) -> PlacementGroupState:
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


def workers(found) -> list:
    return [_worker(row) for row in found]


def _worker(row) -> WorkerState:
    return WorkerState(
        worker_id=row["worker_id"],
        is_alive=row["is_alive"],
        worker_type="DRIVER" if row["is_driver"] else "WORKER",
        exit_type=EXIT_TYPES[row["exit"]],
        exit_detail=row["exit_detail"] or None,
        node_id=row["node_id"],
        job_id=row["job_id"] or None,
        pid=row["pid"],
    )


def tasks(found, processes, actors) -> list:
    """One row per task: its owner tells what it is, the worker that it runs."""
    by_process = {row["process"]: row for row in processes}
    class_of = {row["actor_id"]: row["class_name"] for row in actors}
    by_task = {}
    for row in found:
        known = by_task.setdefault(row["task_id"], row)
        if known is row:
            continue
        if row["state"] == _RUNNING:
            known, row = row, known
        by_task[row["task_id"]] = {**row, "state": _later(row["state"], known["state"])}
    return [_task(row, by_process.get(row["process"]), class_of.get(row["actor_id"])) for row in by_task.values()]


def _later(one, other):
    """What an owner knows of an end is newer than that the task runs; a push is older."""
    return max(one, other)


def _task(row, process, class_name) -> TaskState:
    error_type, error_message = _error(row)
    name = row["name"] if class_name is None or "." in row["name"] else f"{class_name}.{row['name']}"
    return TaskState(
        task_id=row["task_id"],
        attempt_number=row["attempt_number"],
        name=name,
        func_or_class_name=name,
        type=_type(row),
        state=TASK_STATES[row["state"]],
        job_id=row["job_id"],
        actor_id=row["actor_id"] or None,
        parent_task_id=row["parent_task_id"] or None,
        node_id=process and process["node_id"],
        worker_id=process and process["worker_id"],
        worker_pid=process and process["pid"],
        error_type=error_type,
        error_message=error_message,
    )


def _type(row) -> str:
    if row["name"].endswith(".__init__"):
        return "ACTOR_CREATION_TASK"
    return "ACTOR_TASK" if row["actor_id"] else "NORMAL_TASK"


def references(found, processes) -> list:
    by_process = {row["process"]: row for row in processes}
    return [_reference(row, by_process.get(row["process"])) for row in found]


def _reference(row, process) -> ObjectState:
    return ObjectState(
        object_id=row["object_id"],
        object_size=row["size"] if row["ready"] else -1,
        task_status="FINISHED" if row["ready"] else "PENDING",
        reference_type=_reference_type(row),
        is_stored=row["stored"],
        local_references=row["local"],
        type="DRIVER" if process and process["is_driver"] else "WORKER",
        node_id=process and process["node_id"],
        pid=process and process["pid"],
    )


def _reference_type(row) -> str:
    if row["actor_handle"]:
        return "ACTOR_HANDLE"
    if row["submitted"]:
        return "USED_BY_PENDING_TASK"
    if row["local"]:
        return "LOCAL_REFERENCE"
    return "CAPTURED_IN_OBJECT" if row["contained"] else "BORROWED"


def _error(row):
    if TASK_STATES[row["state"]] != "FAILED":
        return None, None
    if not row["error_message"]:
        return "TASK_EXECUTION_EXCEPTION", None
    kind, text, detail = row["error_message"].split(b"\0", 2)
    if kind == b"RayTaskError":  # an argument was an error of the engine's
        kind, text, _ = detail.split(b"\0", 2)
    return kind.decode(), text.decode(errors="replace")
