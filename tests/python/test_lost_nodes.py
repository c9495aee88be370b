"""Nodes lost: under many objects, of which only what was lost is made again; under a constructor."""

import asyncio
import collections
import os

import numpy as np
import pytest
import ray_engine as ray
from ray_engine.cluster_utils import Cluster

from tests.python import leaks
from tests.python.waiting import wait_for

NODES, LOST, OBJECTS, SIZE = 8, 4, 2000, 1_000_000
LIMIT = 120


@pytest.fixture
def nodes(start):
    machine = leaks.Machine(os.environ[leaks.MARK_NAME])
    cluster = Cluster()
    for _ in range(NODES):
        cluster.add_node(num_cpus=1, object_store_memory=800 << 20, wait=False)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    machine.check()


@pytest.mark.timeout(300)
def test_half_of_the_nodes_are_lost_under_two_thousand_objects(nodes, tmp_path):
    runs = str(tmp_path / "runs")

    @ray.remote(scheduling_strategy="SPREAD", max_retries=-1)
    def make(i):
        with open(runs, "a") as file:
            file.write(f"{i}\n")
        return np.full(SIZE, i % 251, np.uint8)

    refs = [make.remote(i) for i in range(OBJECTS)]
    assert len(ray.wait(refs, num_returns=OBJECTS, timeout=LIMIT, fetch_local=False)[0]) == OBJECTS
    victims = sorted(nodes.worker_nodes, key=lambda node: node.node_id)[:LOST]
    lost_nodes = {node.node_id for node in victims}
    locations = ray.experimental.get_object_locations(refs)
    lost = {i for i, ref in enumerate(refs) if set(locations[ref]["node_ids"]) <= lost_nodes}
    assert len(lost) > OBJECTS / 10, "the objects have not spread over the nodes"
    for node in victims:
        nodes.remove_node(node, allow_graceful=False)
    for i, ref in enumerate(refs):
        array = ray.get(ref, timeout=LIMIT)
        assert array.size == SIZE and np.all(array == i % 251)
    with open(runs) as file:
        times = collections.Counter(int(line) for line in file)
    assert times == {i: 2 if i in lost else 1 for i in range(OBJECTS)}


def test_a_constructor_on_a_node_that_leaves_starts_again_elsewhere(start):
    """What the constructor makes of the end of its session is not its failure."""
    cluster = Cluster()
    cluster.add_node(num_cpus=2, resources={"head": 2})
    leaving = [cluster.add_node(num_cpus=1, resources={"other": 1}) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address)

    @ray.remote(resources={"head": 1}, num_cpus=0, max_concurrency=4)
    class Board:
        places = ()

        def tell(self, place):
            self.places += (place,)

        def told(self):
            return self.places

        async def never(self):
            await asyncio.Event().wait()

    @ray.remote(resources={"other": 1}, max_restarts=1, max_task_retries=-1)
    class Actor:
        def __init__(self, board):
            here = ray.get_runtime_context().get_node_id()
            ray.get(board.tell.remote(here))
            if len(ray.get(board.told.remote())) == 1:
                ray.get(board.never.remote())

    board = Board.remote()
    actor = Actor.remote(board)
    wait_for(lambda: ray.get(board.told.remote()))
    (place,) = ray.get(board.told.remote())
    cluster.remove_node(next(node for node in leaving if node.node_id == place))
    ray.get(actor.__ray_ready__.remote(), timeout=LIMIT)
    assert len(set(ray.get(board.told.remote()))) == 2
    ray.shutdown()
    cluster.shutdown()
