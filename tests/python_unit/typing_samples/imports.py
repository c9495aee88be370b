"""What programs import, and what it is to type checkers. No line is wrong."""

import ray_engine as ray
from ray_engine import cloudpickle
from ray_engine.actor import ActorClass, ActorHandle, exit_actor
from ray_engine.cluster_utils import Cluster
from ray_engine.dag import InputNode
from ray_engine.exceptions import RayTaskError
from ray_engine.experimental.tqdm_ray import tqdm
from ray_engine.internal import free
from ray_engine.job_config import JobConfig
from ray_engine.remote_function import RemoteFunction
from ray_engine.runtime_context import RuntimeContext
from ray_engine.runtime_env import RuntimeEnv
from ray_engine.util import ActorPool, as_completed
from ray_engine.util.metrics import Counter
from ray_engine.util.multiprocessing import Pool
from ray_engine.util.placement_group import PlacementGroup, placement_group
from ray_engine.util.queue import Empty, Queue
from ray_engine.util.scheduling_strategies import Exists, In, NodeLabelSchedulingStrategy
from ray_engine.util.state import ActorState, TaskState, list_actors, list_tasks
from typing_extensions import assert_type

CLASSES = (ActorClass, ActorPool, Cluster, Empty, RayTaskError, RuntimeContext, tqdm)
FUNCTIONS = (cloudpickle.dumps, exit_actor, free)


@ray.remote
def shown(number: int) -> str:
    return str(number)


function: RemoteFunction[[int], str] = shown
strategy = NodeLabelSchedulingStrategy(hard={"zone": In("a", "b")}, soft={"gpu": Exists()})
group: PlacementGroup = placement_group([{"CPU": 1}], strategy="SPREAD")
handle: ActorHandle[object] = ray.get_actor("ada")

ray.init(job_config=JobConfig(ray_namespace="x"), runtime_env=RuntimeEnv(env_vars={"A": "1"}))
assert_type(ray.get(shown.options(scheduling_strategy=strategy).remote(1)), str)
assert_type(ray.get(group.ready()), PlacementGroup)
assert_type([text.upper() for text in as_completed([shown.remote(1)])], list[str])
assert_type(list_actors(filters=[("state", "=", "ALIVE")], limit=5), list[ActorState])
assert_type(list_tasks()[0], TaskState)
assert_type(ray.util.list_named_actors(), list[str])
assert_type(ray.util.queue.Queue(3).size(), int)
assert_type(Queue(actor_options={"num_cpus": 1}).empty(), bool)
Counter("calls", tag_keys=("kind",)).inc(1, tags={"kind": "a"})

with Pool(2) as pool:
    assert_type(pool.map(len, ["a"]), list[int])

with InputNode() as data:
    shown.bind(data["number"]).execute(number=1)
