"""Moves one object between nodes, for bench_network.py: network_workload.py WHAT MIB NODES.

`broadcast`: the driver puts MIB MiB; NODES other nodes get it at once. `pull`: one other node gets objects that
make 1 GiB together with one get. Prints the seconds and what has arrived.
"""

import json
import sys
import time

import numpy as np
import ray_engine as ray

GIB = 1 << 30


@ray.remote(num_cpus=1)
class Reader:
    """Sits on one node; a get in it is a transfer to that node."""

    def touch(self):
        return ray.get_runtime_context().get_node_id()

    def read(self, refs):
        """Seconds that the get took, bytes, and whether they are the right ones."""
        start = time.perf_counter()
        arrays = ray.get([ref for _, ref in refs])
        bytes_read = sum(array.nbytes for array in arrays)
        right = all(array[0] == array[-1] == number for (number, _), array in zip(refs, arrays, strict=True))
        return time.perf_counter() - start, bytes_read, bool(right)


def readers(nodes):
    here = ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in ray.nodes() if node["NodeID"] != here][:nodes]
    assert len(others) == nodes, f"{nodes} other nodes are needed, there are {len(others)}"
    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    actors = [Reader.options(scheduling_strategy=strategy(node, soft=False)).remote() for node in others]
    assert ray.get([actor.touch.remote() for actor in actors]) == others
    return actors


def objects(mib, count):
    return [(number, ray.put(np.full(mib << 20, number, np.uint8))) for number in range(1, count + 1)]


def run(what, mib, nodes):
    actors = readers(nodes)
    count = 1 if what == "broadcast" else GIB // (mib << 20)
    warm = objects(mib, count)  # memory that was used before is faster
    ray.get([actor.read.remote(warm) for actor in actors])
    del warm
    refs = objects(mib, count)
    start = time.perf_counter()
    results = ray.get([actor.read.remote(refs) for actor in actors])
    seconds = time.perf_counter() - start
    assert all(right and bytes_read == count * (mib << 20) for _, bytes_read, right in results)
    return seconds


if __name__ == "__main__":
    ray.init()
    print("RESULT", json.dumps({"seconds": run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))}), flush=True)
