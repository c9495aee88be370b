"""Puts and gets with few and with many objects alive; prints RESULT {"metric": figure}.

    python live_workload.py SMALL STORED

SMALL objects of 100 bytes, which their owner keeps in its own memory, and STORED of 2 KB in the store (the limit below
which values are small is set to 1 KB). Rates are measured among few live objects, then among all, and among few again;
the better of the two with few counts.
"""

import json
import sys
import time

import psutil
import ray_engine as ray
from ray_engine import _core

SMALL, STORED = int(sys.argv[1]), int(sys.argv[2])
BATCH, ROUNDS = 10_000, 5
results = {}


def rates(value):
    """Puts per second, and gets per second of what was put: the best of some rounds."""
    best = [0.0, 0.0]
    for _ in range(ROUNDS):
        start = time.perf_counter()
        refs = [ray.put(value) for _ in range(BATCH)]
        _core.store_rows()  # so the engine has taken all in
        middle = time.perf_counter()
        for ref in refs:
            ray.get(ref)
        end = time.perf_counter()
        best = [max(best[0], BATCH / (middle - start)), max(best[1], BATCH / (end - middle))]
        del refs
    return best


def engine():
    (process,) = [p for p in psutil.Process().children(recursive=True) if "ray-engine-node" in p.name()]
    return process


def anonymous(process):
    """Bytes of its own, without shared memory."""
    memory = process.memory_info()
    return memory.rss - memory.shared


def grown(processes, make):
    """What make() returns, and by how much the processes have grown meanwhile."""
    before = sum(map(anonymous, processes))
    made = make()
    _core.store_rows()  # so the engine has taken all in
    return made, sum(map(anonymous, processes)) - before


def measure(label, value, count, processes):
    few = rates(value)
    live, growth = grown(processes, lambda: [ray.put(value) for _ in range(count)])
    many = rates(value)
    results[f"bytes_per_{label}_object"] = growth / count
    del live
    _core.store_rows()
    few = [max(pair) for pair in zip(few, rates(value), strict=True)]
    for i, verb in enumerate(("put", "get")):
        results[f"{verb}_{label}_few"], results[f"{verb}_{label}_many"] = few[i], many[i]


ray.init(num_cpus=1, object_store_memory=1 << 30, _system_config={"max_direct_call_object_size": 1000})
processes = [psutil.Process(), engine()]
measure("small", b"x" * 100, SMALL, processes)
measure("stored", b"x" * 2000, STORED, processes)
ray.shutdown()
print("RESULT", json.dumps(results), flush=True)
