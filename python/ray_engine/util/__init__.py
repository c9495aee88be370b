"""Utilities around tasks and actors: pools, queues, scheduling strategies, serializers."""

from typing import TYPE_CHECKING

from ray_engine.util.actor_pool import ActorPool
from ray_engine.util.check_serialize import inspect_serializability
from ray_engine.util.debug import disable_log_once_globally, enable_periodic_logging, log_once
from ray_engine.util.helpers import as_completed, map_unordered
from ray_engine.util.named_actors import list_named_actors
from ray_engine.util.node import get_node_instance_id, get_node_ip_address
from ray_engine.util.placement_group import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray_engine.util.serialization import deregister_serializer, register_serializer

__all__ = [
    "ActorPool",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
]

_LAZY = ("accelerators", "joblib", "metrics", "multiprocessing", "queue", "scheduling_strategies", "state")
_NOT_YET = frozenset({
    "collective", "connect", "dask", "disconnect", "iter", "pdb", "ray_debugpy", "rpdb", "spark", "tracing",
})  # fmt: skip

if TYPE_CHECKING:
    from ray_engine.util import (
        accelerators as accelerators,
    )
    from ray_engine.util import (
        joblib as joblib,
    )
    from ray_engine.util import (
        metrics as metrics,
    )
    from ray_engine.util import (
        multiprocessing as multiprocessing,
    )
    from ray_engine.util import (
        queue as queue,
    )
    from ray_engine.util import (
        scheduling_strategies as scheduling_strategies,
    )
    from ray_engine.util import (
        state as state,
    )
else:

    def __getattr__(name):
        if name in _LAZY:
            import importlib

            return importlib.import_module(f"{__name__}.{name}")
        from ray_engine._private import unavailable

        raise unavailable.attribute(__name__, name, _NOT_YET)
