"""Half of the nodes lost while many objects are alive: all values are right, and only what was lost is made again."""

import collections
import os

import numpy as np
import pytest
import ray_engine as ray
from ray_engine.cluster_utils import Cluster

from tests.python import leaks

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
