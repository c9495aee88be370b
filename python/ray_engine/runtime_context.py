"""RuntimeContext: who am I, asked from inside a driver, task or actor."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ray_engine import _core
from ray_engine._private import actor_description, allotment, definitions, group_resources, lifecycle, own_actor
from ray_engine._private.ids import ActorID, JobID, NodeID, PlacementGroupID, TaskID
from ray_engine._private.session import session

if TYPE_CHECKING:
    from ray_engine.actor import ActorHandle


class RuntimeContext:
    """Ids are hex strings. What belongs to a task is None in a driver."""

    def get(self) -> dict[str, Any]:
        """job_id, node_id and namespace; in a worker also task_id and actor_id, where there are any."""
        context = {"job_id": _job_id(), "node_id": session.node_id, "namespace": self.namespace}
        optional = {"task_id": _id_of_task(), "actor_id": _id_of_actor()} if session.is_worker else {}
        return {**context, **{name: value for name, value in optional.items() if value is not None}}

    # ---- the process -----------------------------------------------------------------------------------------------

    @property
    def job_id(self) -> JobID:
        """Deprecated: get_job_id()."""
        _deprecated("get_job_id()")
        return _job_id()

    @property
    def node_id(self) -> NodeID:
        """Deprecated: get_node_id()."""
        _deprecated("get_node_id()")
        return session.node_id

    @property
    def namespace(self) -> str:
        """The name space of this job's actors."""
        return session.namespace

    @property
    def gcs_address(self) -> str:
        """What other programs give to init(address=...)."""
        return session.info["socket_name"]

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime_env that the process runs in: {} or {"env_vars": {...}}."""
        return {"env_vars": dict(session.environment)} if session.environment else {}

    def get_job_id(self) -> str:
        """The job that this process works for. Raises RuntimeError before init()."""
        _connected("Job ID")
        return _job_id().hex()

    def get_node_id(self) -> str:
        """The node this process is on. Raises RuntimeError before init()."""
        return _connected("Node ID").node_id.hex()

    def get_worker_id(self) -> str:
        """This process. Raises RuntimeError before init()."""
        return _connected("Worker ID").worker_id.hex()

    def get_session_name(self) -> str:
        """The name of the session. Raises RuntimeError before init()."""
        return _connected("Session name").info["session"]

    def get_runtime_env_string(self) -> str:
        """runtime_env as JSON."""
        import json

        return json.dumps(self.runtime_env)

    def get_node_labels(self) -> dict[str, str]:
        """{label: value} of this node. Raises RuntimeError before init()."""
        node_id = _connected("Node labels").info["node_id"]
        return next((dict(node["labels"]) for node in _core.cluster() if node["id"] == node_id), {})

    # ---- the task --------------------------------------------------------------------------------------------------

    @property
    def task_id(self) -> TaskID | None:
        """Deprecated: get_task_id()."""
        _deprecated("get_task_id()")
        return _id_of_task()

    def get_task_id(self) -> str | None:
        """The task that runs in this thread, or coroutine."""
        return _hex(_of_task("task_id"))

    def get_task_name(self) -> str | None:
        """The name given as an option; else the function's, or Class.method."""
        class_name, name = _of_task("class_name"), _of_task("name")
        return _of_task("title") or (f"{class_name}.{name}" if class_name else name)

    def get_task_function_name(self) -> str | None:
        """module.function, or module.Class.method."""
        task = _core.current_task()
        return definitions.function_name(task) if task and task["name"] else None

    def is_canceled(self) -> bool:
        """Whether somebody has cancelled the task that asks: a method of an actor may then end early, whatever it
        returns. Raises RuntimeError in an actor with coroutines, where a cancelled one gets asyncio.CancelledError.
        """
        if own_actor.async_actor() is not None:
            raise RuntimeError("This method is not supported in an async actor.")
        return bool(_of_task("cancelled"))

    def get_assigned_resources(self) -> dict[str, float]:
        """{resource: amount} that the task or actor holds; {} in a driver."""
        return group_resources.plain(_of_task("resources") or {})

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """{resource: ids} of the accelerators that the task or actor was given, for all families that there are: as in
        {"GPU": ["0", "1"], "TPU": [], ...}. In a driver all lists are empty."""
        return allotment.all_ids()

    def get_placement_group_id(self) -> str | None:
        """The placement group the task or actor runs in; None if in none."""
        return _hex(group_resources.group_of_task(_core.current_task()))

    @property
    def current_placement_group_id(self) -> PlacementGroupID:
        """Deprecated: get_placement_group_id()."""
        _deprecated("get_placement_group_id()")
        group = group_resources.group_of_task(_core.current_task())
        return PlacementGroupID.nil() if group is None else PlacementGroupID(group)

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what this task submits runs in its placement group too."""
        return bool(_of_task("captures_children"))

    # ---- the actor -------------------------------------------------------------------------------------------------

    @property
    def actor_id(self) -> ActorID | None:
        """Deprecated: get_actor_id()."""
        _deprecated("get_actor_id()")
        return _id_of_actor()

    def get_actor_id(self) -> str | None:
        """The actor that this runs in."""
        return _hex(_of_task("actor_id"))

    def get_actor_name(self) -> str | None:
        """The name the actor was given, "" if none."""
        return (_of_task("actor_name") or "") if _of_task("actor_id") else None

    @property
    def current_actor(self) -> ActorHandle[Any]:
        """A (weak) handle to the actor this runs in. Raises RuntimeError outside of actors."""
        from ray_engine.actor import ActorHandle

        actor_id = _of_task("actor_id")
        if not actor_id:
            raise RuntimeError("This method is only available in an actor.")
        description = actor_description.describe(own_actor.actor_class())
        settings = {"max_task_retries": 0, "max_pending_calls": 0, "out_of_order": False, "concurrency_groups": ()}
        blob = actor_description.pickled(description, settings)
        return ActorHandle(_core.ActorRef(actor_id, None), description, settings, blob)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor has been restarted. Raises AssertionError outside of actors."""
        assert _of_task("actor_id"), "This method should't be called inside Ray tasks."
        return bool(_of_task("restarts"))


def _connected(what):
    if not session.connected:
        raise RuntimeError(f"{what} is not available because Ray has not been initialized.")
    return session


def _of_task(field):
    """A field of the task that runs in this thread; None in a driver."""
    task = _core.current_task()
    return task.get(field) if task else None


def _job_id() -> JobID:
    binary = _of_task("job_id")
    return JobID(binary) if binary else session.job_id


def _id_of_task():
    binary = _of_task("task_id")
    return TaskID(binary) if binary else None


def _id_of_actor():
    binary = _of_task("actor_id")
    return ActorID(binary) if binary else None


def _deprecated(instead):
    warnings.warn(f"Use {instead} instead", DeprecationWarning, stacklevel=3)


def _hex(binary):
    return binary.hex() if binary else None


_context = RuntimeContext()


def get_runtime_context() -> RuntimeContext:
    """The context of the running driver, task or actor."""
    lifecycle.ensure_connected()
    return _context


def get_gpu_ids() -> list[int] | list[str]:
    """Ids of the GPUs that the task or actor was given; [] in a driver. Numbers from 0, or strings out of what
    CUDA_VISIBLE_DEVICES listed where the node was started."""
    lifecycle.ensure_connected()
    return allotment.ids("GPU")
