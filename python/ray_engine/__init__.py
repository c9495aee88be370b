"""ray_engine: Ray's programming model on an engine made for supercomputers. `import ray_engine as ray`.

Public names only; what stands behind them is in ray_engine._private.
"""

from typing import TYPE_CHECKING

from ray_engine._core import ObjectRef, ObjectRefGenerator
from ray_engine._private import unavailable
from ray_engine._private.generators import DynamicObjectRefGenerator
from ray_engine._private.ids import (
    ActorClassID,
    ActorID,
    ClusterID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)
from ray_engine._private.lifecycle import init, is_initialized, shutdown
from ray_engine._version import __commit__ as __commit__
from ray_engine._version import __engine_version__ as __engine_version__
from ray_engine._version import __version__ as __version__

from ray_engine import actor, exceptions  # isort: skip
from ray_engine._private.api import cancel, get, kill, put, remote, wait
from ray_engine._private.arrays import empty
from ray_engine._private.cluster_state import available_resources, cluster_resources, nodes, timeline
from ray_engine.actor import get_actor, method
from ray_engine.runtime_context import get_gpu_ids, get_runtime_context

ObjectID = ObjectRef
SCRIPT_MODE = 0
WORKER_MODE = 1

__all__ = [
    "__version__",
    "ActorClassID",
    "ActorID",
    "ClusterID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "SCRIPT_MODE",
    "TaskID",
    "UniqueID",
    "WORKER_MODE",
    "WorkerID",
    "actor",
    "available_resources",
    "cancel",
    "cluster_resources",
    "cluster_utils",
    "empty",
    "exceptions",
    "get",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "init",
    "is_initialized",
    "kill",
    "method",
    "nodes",
    "put",
    "remote",
    "shutdown",
    "timeline",
    "util",
    "wait",
]

# Submodules that are imported when they are first asked for.
_LAZY = (
    "_raylet", "cloudpickle", "cluster_utils", "dag", "experimental", "internal", "job_config", "runtime_env", "types",
    "util",
)  # fmt: skip

unavailable.install()

if TYPE_CHECKING:
    from ray_engine import (
        cloudpickle as cloudpickle,
    )
    from ray_engine import (
        cluster_utils as cluster_utils,
    )
    from ray_engine import (
        dag as dag,
    )
    from ray_engine import (
        experimental as experimental,
    )
    from ray_engine import (
        internal as internal,
    )
    from ray_engine import (
        job_config as job_config,
    )
    from ray_engine import (
        runtime_env as runtime_env,
    )
    from ray_engine import (
        types as types,
    )
    from ray_engine import (
        util as util,
    )
else:

    def __getattr__(name):
        if name in _LAZY or name in unavailable.LIBRARIES:
            import importlib

            return importlib.import_module(f"{__name__}.{name}")
        raise unavailable.attribute(__name__, name, unavailable.TOP_LEVEL)
