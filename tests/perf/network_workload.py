"""Moves objects between nodes, for bench_network.py: network_workload.py MODULE WHAT MIB NODES.

MODULE is what is imported as ray. `pull`: one other node gets objects of MIB MiB that make 1 GiB together, with one
get. `broadcast`: the driver puts MIB MiB; NODES other nodes get it at once. `all_to_all`: each of NODES other nodes
has an object of MIB MiB for each of the others, and all get theirs at once. Prints the seconds and the bytes that
have arrived.
"""

import importlib
import json
import sys
import time

import numpy as np

ray = importlib.import_module(sys.argv[1])
strategies = importlib.import_module(f"{sys.argv[1]}.util.scheduling_strategies")
GIB, MIB = 1 << 30, 1 << 20


@ray.remote(num_cpus=1)
class Reader:
    """Sits on one node; a get in it is a transfer to that node."""

    def where(self):
        return ray.get_runtime_context().get_node_id()

    def make(self, mib, numbers):
        self.made = put_all(mib, numbers)
        return self.made

    def forget(self):
        self.made = None

    def read(self, refs):
        """The bytes that have come."""
        arrays = ray.get([ref for _, ref in refs])
        right = all(array[0] == array[-1] == number for (number, _), array in zip(refs, arrays, strict=True))
        return sum(array.nbytes for array in arrays) if right else -1


def put_all(mib, numbers):
    return [(number, ray.put(np.full(mib * MIB, number, np.uint8))) for number in numbers]


def readers(nodes):
    here = ray.get_runtime_context().get_node_id()
    others = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here][:nodes]
    assert len(others) == nodes, f"{nodes} other nodes are needed, there are {len(others)}"
    strategy = strategies.NodeAffinitySchedulingStrategy
    actors = [Reader.options(scheduling_strategy=strategy(node, soft=False)).remote() for node in others]
    assert ray.get([actor.where.remote() for actor in actors]) == others
    return actors


def from_driver(mib, actors, count):
    """What each of the actors is to read."""
    refs = put_all(mib, range(1, count + 1))
    return [refs for _ in actors]


def from_each_other(mib, actors):
    made = ray.get([actor.make.remote(mib, range(1, len(actors) + 1)) for actor in actors])
    return [[refs[reader] for maker, refs in enumerate(made) if maker != reader] for reader in range(len(actors))]


def transfer(actors, parts):
    """Seconds until all have read their part."""
    start = time.perf_counter()
    came = ray.get([actor.read.remote(part) for actor, part in zip(actors, parts, strict=True)])
    return time.perf_counter() - start, came


def run(what, mib, nodes):
    actors = readers(nodes)
    for _ in range(2):  # memory that was used before is faster
        if what == "all_to_all":
            parts = from_each_other(mib, actors)
        else:
            parts = from_driver(mib, actors, 1 if what == "broadcast" else GIB // (mib * MIB))
        seconds, came = transfer(actors, parts)
        assert came == [len(part) * mib * MIB for part in parts], came
        del parts
        ray.get([actor.forget.remote() for actor in actors])
    return {"seconds": seconds, "bytes": sum(came)}


if __name__ == "__main__":
    ray.init(**({} if ray.__name__ == "ray_engine" else {"address": "auto"}))
    print("RESULT", json.dumps(run(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))), flush=True)
