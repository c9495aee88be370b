"""Rows of the state API: what ray.util.state lists. Each can be read as an object or as a dictionary.

A field is there if the engine knows it; names and values are those of Ray. Ids are hexadecimal texts, times are
milliseconds since 1970. Immutable value types.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

ACTOR_STATES = ("PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD")
GROUP_STATES = ("PENDING", "CREATED", "REMOVED", "RESCHEDULING")
TASK_STATES = (
    "PENDING_ARGS_AVAIL",
    "PENDING_NODE_ASSIGNMENT",
    "SUBMITTED_TO_WORKER",
    "RUNNING",
    "FINISHED",
    "FAILED",
)
EXIT_TYPES = (None, "INTENDED_SYSTEM_EXIT", "INTENDED_USER_EXIT", "SYSTEM_ERROR")


@dataclass(frozen=True)
class _Row:
    """A dataclass that can also be read like a dictionary."""

    @classmethod
    def of(cls, row: dict, **instead: Any) -> Self:
        """The row whose fields are those of `row`, and of `instead` where that has them."""
        values = {**row, **instead}
        return cls(**{name: values[name] for name in cls.keys() if name in values})

    def __getitem__(self, name: str) -> Any:
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in self.keys()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field; `default` if there is none of that name."""
        return getattr(self, name) if name in self.keys() else default

    @classmethod
    def keys(cls) -> list[str]:
        """The names of the fields."""
        return [item.name for item in fields(cls)]

    def items(self) -> list[tuple[str, Any]]:
        """(name, value) of each field."""
        return [(name, getattr(self, name)) for name in self.keys()]

    def asdict(self) -> dict[str, Any]:
        """The row as a dictionary."""
        return dict(self.items())


@dataclass(frozen=True)
class ActorState(_Row):
    """An actor, living or dead. `pid` is that of the process it runs in, or ran in last."""

    actor_id: str
    class_name: str
    state: str  # one of ACTOR_STATES
    job_id: str
    name: str
    node_id: str | None
    pid: int
    ray_namespace: str
    is_detached: bool
    placement_group_id: str | None
    num_restarts: int
    death_cause: str | None
    required_resources: dict = field(default_factory=dict)


@dataclass(frozen=True)
class NodeState(_Row):
    """A node that belongs to the session, or did."""

    node_id: str
    node_ip: str
    is_head_node: bool
    state: str  # ALIVE or DEAD
    state_message: str | None
    node_name: str
    resources_total: dict = field(default_factory=dict)
    labels: dict = field(default_factory=dict)


@dataclass(frozen=True)
class JobState(_Row):
    """A driver's job. `status` is RUNNING, or FINISHED: how its program ended the engine does not know."""

    job_id: str
    status: str
    entrypoint: str
    ray_namespace: str
    driver_pid: int
    start_time: int
    end_time: int | None
    type: str = "DRIVER"


@dataclass(frozen=True)
class PlacementGroupState(_Row):
    """A placement group. `bundles` are dictionaries of resources with the node of each."""

    placement_group_id: str
    name: str
    creator_job_id: str
    state: str  # one of GROUP_STATES
    is_detached: bool
    bundles: list = field(default_factory=list)


@dataclass(frozen=True)
class WorkerState(_Row):
    """A worker or driver process, living or dead. The latest dead of every node are remembered."""

    worker_id: str
    is_alive: bool
    worker_type: str  # WORKER or DRIVER
    exit_type: str | None  # one of EXIT_TYPES
    exit_detail: str | None
    node_id: str
    job_id: str | None
    pid: int


@dataclass(frozen=True)
class TaskState(_Row):
    """A task that waits or runs, or one of the last 1,000 that ended for the process that submitted it."""

    task_id: str
    attempt_number: int
    name: str
    func_or_class_name: str
    type: str  # NORMAL_TASK, ACTOR_TASK or ACTOR_CREATION_TASK
    state: str  # one of TASK_STATES
    job_id: str
    actor_id: str | None
    parent_task_id: str | None
    node_id: str | None
    worker_id: str | None
    worker_pid: int | None
    error_type: str | None
    error_message: str | None
    start_time_ms: int | None  # by the clock of its node, as end_time_ms
    end_time_ms: int | None


@dataclass(frozen=True)
class ObjectState(_Row):
    """What one process holds of one object. `object_size` is in bytes, -1 where the process does not know it."""

    object_id: str
    object_size: int
    task_status: str  # FINISHED: the value is there
    reference_type: str  # ACTOR_HANDLE, LOCAL_REFERENCE, USED_BY_PENDING_TASK, CAPTURED_IN_OBJECT or BORROWED
    is_stored: bool  # in a store; otherwise in the memory of its owner
    local_references: int
    type: str  # WORKER or DRIVER
    node_id: str | None
    pid: int | None
    call_site: str  # the program's line that made the reference; "disabled" where that is not recorded
    node_ids: list[str]  # of the stores that have it, as far as the process knows
