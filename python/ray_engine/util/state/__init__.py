"""ray.util.state: lists of the actors, tasks, nodes, workers, jobs and placement groups of the session.

    list_actors(filters=[("state", "=", "ALIVE")])
    get_actor(id)

Filters are (field, "=" or "!=", value); a row must satisfy all of them, and values are compared as texts without regard
to case. `limit` is the most rows that come back. The answer of one call is no snapshot: rows of different processes
may be moments apart. Nothing is recorded while nobody asks, so a list costs something, a task does not.

Thread-safe.
"""

from ray_engine import _core
from ray_engine._private import cluster_state, unavailable
from ray_engine._private.session import session
from ray_engine.util.state import rows
from ray_engine.util.state.common import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    TaskState,
    WorkerState,
)
from ray_engine.util.state.exception import RayStateApiException

__all__ = [
    "get_actor",
    "get_job",
    "get_node",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_jobs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_tasks",
]

_DEFAULT_LIMIT = 100
_MAX_LIMIT = 10_000
_NOT_YET = frozenset({
    "get_log", "get_objects", "list_cluster_events", "list_logs", "list_runtime_envs",
    "summarize_objects",
})  # fmt: skip
_TIMEOUT_S = 30


def list_actors(address=None, filters=None, limit=_DEFAULT_LIMIT, timeout=_TIMEOUT_S, detail=False,
                raise_on_missing_output=True, _explain=False) -> list[ActorState]:  # fmt: skip
    """Actors, living and dead; the oldest dead are forgotten after 10,000."""
    return _select(ActorState, lambda: rows.actors(_core.actor_rows()), address, filters, limit)


def list_nodes(address=None, filters=None, limit=_DEFAULT_LIMIT, timeout=_TIMEOUT_S, detail=False,
               raise_on_missing_output=True, _explain=False) -> list[NodeState]:  # fmt: skip
    """Nodes, lost ones included."""
    return _select(NodeState, lambda: rows.nodes(cluster_state.nodes()), address, filters, limit)


def list_jobs(address=None, filters=None, limit=_DEFAULT_LIMIT, timeout=_TIMEOUT_S, detail=False,
              raise_on_missing_output=True, _explain=False) -> list[JobState]:  # fmt: skip
    """Jobs of all drivers of the session, in the order they came."""
    return _select(JobState, lambda: rows.jobs(_core.job_rows()), address, filters, limit)


def list_workers(address=None, filters=None, limit=_DEFAULT_LIMIT, timeout=_TIMEOUT_S, detail=False,
                 raise_on_missing_output=True, _explain=False) -> list[WorkerState]:  # fmt: skip
    """Workers and drivers, living and dead."""
    return _select(WorkerState, lambda: rows.workers(_core.worker_rows()), address, filters, limit)


def list_tasks(address=None, filters=None, limit=_DEFAULT_LIMIT, timeout=_TIMEOUT_S, detail=False,
               raise_on_missing_output=True, _explain=False) -> list[TaskState]:  # fmt: skip
    """Tasks that wait or run, and those that ended lately. Of one process's waiting tasks 10,000 are listed at most."""
    return _select(TaskState, _task_states, address, filters, limit)


def list_objects(address=None, filters=None, limit=_DEFAULT_LIMIT, timeout=_TIMEOUT_S, detail=False,
                 raise_on_missing_output=True, _explain=False) -> list[ObjectState]:  # fmt: skip
    """What processes hold: one row per object and process that knows it. Actor handles are among them."""
    return _select(
        ObjectState, lambda: rows.references(_core.reference_rows(), _core.worker_rows()), address, filters, limit
    )


def list_placement_groups(address=None, filters=None, limit=_DEFAULT_LIMIT, timeout=_TIMEOUT_S, detail=False,
                          raise_on_missing_output=True, _explain=False) -> list[PlacementGroupState]:  # fmt: skip
    """Placement groups, removed ones included."""
    return _select(PlacementGroupState, lambda: rows.placement_groups(_core.groups()), address, filters, limit)


def get_actor(id, address=None, timeout=_TIMEOUT_S, _explain=False) -> ActorState | None:
    """The actor of that id (hexadecimal), or None."""
    return _find(list_actors, "actor_id", id, address)


def get_node(id, address=None, timeout=_TIMEOUT_S, _explain=False) -> NodeState | None:
    """The node of that id (hexadecimal), or None."""
    return _find(list_nodes, "node_id", id, address)


def get_job(id, address=None, timeout=_TIMEOUT_S, _explain=False) -> JobState | None:
    """The job of that id (hexadecimal), or None."""
    return _find(list_jobs, "job_id", id, address)


def get_worker(id, address=None, timeout=_TIMEOUT_S, _explain=False) -> WorkerState | None:
    """The worker or driver of that id (hexadecimal), or None."""
    return _find(list_workers, "worker_id", id, address)


def get_task(id, address=None, timeout=_TIMEOUT_S, _explain=False) -> TaskState | None:
    """The task of that id (hexadecimal, or a reference to what it returns), or None."""
    return _find(list_tasks, "task_id", id if isinstance(id, str) else id.task_id().hex(), address)


def get_placement_group(id, address=None, timeout=_TIMEOUT_S, _explain=False) -> PlacementGroupState | None:
    """The placement group of that id (hexadecimal), or None."""
    return _find(list_placement_groups, "placement_group_id", id, address)


def summarize_actors(address=None, timeout=_TIMEOUT_S, raise_on_missing_output=True, _explain=False) -> dict:
    """How many actors of each class are in which state."""
    return _summarize(list_actors(address, limit=_MAX_LIMIT), "class_name")


def summarize_tasks(address=None, timeout=_TIMEOUT_S, raise_on_missing_output=True, _explain=False) -> dict:
    """How many tasks of each function are in which state."""
    return _summarize(list_tasks(address, limit=_MAX_LIMIT), "func_or_class_name")


def _select(kind, load, address, filters, limit) -> list:
    _check_address(address)
    if not isinstance(limit, int) or not 0 < limit <= _MAX_LIMIT:
        raise ValueError(f"limit is a number of rows from 1 to {_MAX_LIMIT}, got {limit!r}")
    conditions = [_condition(kind, given) for given in filters or ()]
    session.check_connected()
    return [row for row in load() if all(condition(row) for condition in conditions)][:limit]


def _condition(kind, given):
    """A filter as a function of a row."""
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        raise ValueError(f"a filter is (field, '=' or '!=', value), got {given!r}")
    name, operator, value = given
    if name not in kind.keys():
        raise RayStateApiException(f"{kind.__name__} has no field {name!r} to filter by, only {sorted(kind.keys())}")
    if operator not in ("=", "!="):
        raise ValueError(f"a filter compares by '=' or '!=', got {operator!r}")
    wanted, equal = str(value).lower(), operator == "="
    return lambda row: (str(row[name]).lower() == wanted) == equal


def _task_states() -> list:
    return rows.tasks(_core.task_rows(), _core.worker_rows(), _core.actor_rows())


def _find(list_rows, field, value, address):
    found = list_rows(address, filters=[(field, "=", value)], limit=1)
    return found[0] if found else None


def _check_address(address):
    """There is one session per process: the one it is connected to."""
    if address not in (None, "auto", session.info.get("address")):
        raise RayStateApiException(
            f"the state API answers for the session this process is connected to, not for {address!r}; "
            "leave `address` out"
        )


def _summarize(found, field) -> dict:
    summary = {}
    for row in found:
        counts = summary.setdefault(row[field], {"state_counts": {}})["state_counts"]
        counts[row.state] = counts.get(row.state, 0) + 1
    return {"cluster": {"summary": summary, "total": len(found)}}


def __getattr__(name):
    raise unavailable.attribute(__name__, name, _NOT_YET)
