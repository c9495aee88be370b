"""ray.util.state: lists of the actors, tasks, nodes, workers, jobs and placement groups of the session.

    list_actors(filters=[("state", "=", "ALIVE")])
    get_actor(id)

Filters are (field, "=" or "!=", value); a row must satisfy all of them, and values are compared as texts without regard
to case. `limit` is the most rows that come back. The answer of one call is no snapshot: rows of different processes
may be moments apart. Nothing is recorded while nobody asks, so a list costs something, a task does not.

Thread-safe.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

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
    _Row,
)
from ray_engine.util.state.exception import RayStateApiException

__all__ = [
    "ActorState",
    "JobState",
    "NodeState",
    "ObjectState",
    "PlacementGroupState",
    "RayStateApiException",
    "TaskState",
    "WorkerState",
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

Filter: TypeAlias = tuple[str, Literal["=", "!="], Any]
Row = TypeVar("Row", bound=_Row)


class _List(Generic[Row]):
    """A list_...() function: what all of them have in common. `load` gives the rows of `kind`, all there are."""

    def __init__(self, kind: type[Row], load: Callable[[], list[Row]]):
        self.__name__ = self.__qualname__ = load.__name__
        self.__module__ = load.__module__
        self.__doc__ = f"{load.__doc__}\n\n{_LIST_HELP}"
        self._kind = kind
        self._load = load

    def __call__(
        self,
        address: str | None = None,
        filters: Sequence[Filter] | None = None,
        limit: int = _DEFAULT_LIMIT,
        timeout: int = _TIMEOUT_S,
        detail: bool = False,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Row]:
        _check_address(address)
        if not isinstance(limit, int) or not 0 < limit <= _MAX_LIMIT:
            raise ValueError(f"limit is a number of rows from 1 to {_MAX_LIMIT}, got {limit!r}")
        conditions = [_condition(self._kind, given) for given in filters or ()]
        session.check_connected()
        return [row for row in self._load() if all(condition(row) for condition in conditions)][:limit]

    def find(self, field: str, value: str, address: str | None) -> Row | None:
        """The first row with this value."""
        found = self(address, filters=[(field, "=", value)], limit=1)
        return found[0] if found else None

    def __reduce__(self) -> str:
        return self.__name__  # pickled by name, as functions are

    def __repr__(self) -> str:
        return f"<function {self.__module__}.{self.__name__}>"


_LIST_HELP = """`filters` and `limit` are those of the module's description. `address` may name the session that this
process is connected to, no other. `timeout` (seconds), `detail` and `raise_on_missing_output` have no effect: every
row is complete. Raises ValueError for a limit below 1 or above 10,000 and for a filter that is none,
RayStateApiException for a field that there is not and for another session."""


def _lists(kind: type[Row]) -> Callable[[Callable[[], list[Row]]], _List[Row]]:
    return lambda load: _List(kind, load)


@_lists(ActorState)
def list_actors():
    """Actors, living and dead; the oldest dead are forgotten after 10,000."""
    return [rows.actor(row) for row in _core.actor_rows()]


@_lists(NodeState)
def list_nodes():
    """Nodes, lost ones included."""
    return [rows.node(index, row) for index, row in enumerate(cluster_state.nodes())]


@_lists(JobState)
def list_jobs():
    """Jobs of all drivers of the session, in the order they came."""
    return [rows.job(row) for row in _core.job_rows()]


@_lists(WorkerState)
def list_workers():
    """Workers and drivers, living and dead."""
    return [rows.worker(row) for row in _core.worker_rows()]


@_lists(TaskState)
def list_tasks():
    """Tasks that wait or run, and those that ended lately. Of one process's waiting tasks 10,000 are listed at most."""
    return rows.tasks(_core.task_rows(), _core.worker_rows(), _core.actor_rows())


@_lists(ObjectState)
def list_objects():
    """What processes hold: one row per object and process that knows it. Actor handles are among them."""
    return rows.references(_core.reference_rows(), _core.worker_rows(), _core.cluster())


@_lists(PlacementGroupState)
def list_placement_groups():
    """Placement groups, removed ones included."""
    return [rows.placement_group(row) for row in _core.groups()]


def get_actor(
    id: str, address: str | None = None, timeout: int = _TIMEOUT_S, _explain: bool = False
) -> ActorState | None:
    """The actor of that id (hexadecimal), or None."""
    return list_actors.find("actor_id", id, address)


def get_node(
    id: str, address: str | None = None, timeout: int = _TIMEOUT_S, _explain: bool = False
) -> NodeState | None:
    """The node of that id (hexadecimal), or None."""
    return list_nodes.find("node_id", id, address)


def get_job(id: str, address: str | None = None, timeout: int = _TIMEOUT_S, _explain: bool = False) -> JobState | None:
    """The job of that id (hexadecimal), or None."""
    return list_jobs.find("job_id", id, address)


def get_worker(
    id: str, address: str | None = None, timeout: int = _TIMEOUT_S, _explain: bool = False
) -> WorkerState | None:
    """The worker or driver of that id (hexadecimal), or None."""
    return list_workers.find("worker_id", id, address)


def get_task(
    id: str | _core.ObjectRef, address: str | None = None, timeout: int = _TIMEOUT_S, _explain: bool = False
) -> TaskState | None:
    """The task of that id (hexadecimal, or a reference to what it returns), or None."""
    return list_tasks.find("task_id", id if isinstance(id, str) else id.task_id().hex(), address)


def get_placement_group(
    id: str, address: str | None = None, timeout: int = _TIMEOUT_S, _explain: bool = False
) -> PlacementGroupState | None:
    """The placement group of that id (hexadecimal), or None."""
    return list_placement_groups.find("placement_group_id", id, address)


def summarize_actors(
    address: str | None = None,
    timeout: int = _TIMEOUT_S,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many actors of each class are in which state. The arguments are those of list_actors()."""
    return _summarize(list_actors(address, limit=_MAX_LIMIT), "class_name")


def summarize_tasks(
    address: str | None = None,
    timeout: int = _TIMEOUT_S,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """How many tasks of each function are in which state. The arguments are those of list_tasks()."""
    return _summarize(list_tasks(address, limit=_MAX_LIMIT), "func_or_class_name")


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


def _check_address(address):
    """There is one session per process: the one it is connected to."""
    if address not in (None, "auto", session.info.get("address")):
        raise RayStateApiException(
            f"the state API answers for the session this process is connected to, not for {address!r}; "
            "leave `address` out"
        )


def _summarize(found, field) -> dict:
    summary: dict[str, dict] = {}
    for row in found:
        counts = summary.setdefault(row[field], {"state_counts": {}})["state_counts"]
        counts[row.state] = counts.get(row.state, 0) + 1
    return {"cluster": {"summary": summary, "total": len(found)}}


if not TYPE_CHECKING:

    def __getattr__(name):
        raise unavailable.attribute(__name__, name, _NOT_YET)
