"""Very many of something at once, under one engine; prints RESULT {"metric": figure}.

    python many_workload.py MODULE [METRIC,...]

MODULE is what is imported as ray: ray_engine, or ray (a real one, in its own environment).
"""

import importlib
import json
import os
import statistics
import sys
import time

import numpy as np

ray = importlib.import_module(sys.argv[1])
only = set(filter(None, "".join(sys.argv[2:]).split(",")))
CPUS = 2
# Ray's workers have some 60 MB each, so it gets fewer.
ACTORS, IN_TURN = (1_000, 10_000) if ray.__name__ == "ray_engine" else (32, 64)
ARGS, RETURNS, GETS, LIST = 10_000, 3_000, 10_000, 10_000
LENGTHS = {"1ms": (0.001, 5_000), "10ms": (0.01, 1_000), "1s": (1, 8)}
BURST, PAIRS = 5_000, 9
results = {}


@ray.remote(num_cpus=0)
class Actor:
    def pid(self):
        return os.getpid()

    def small_value(self):
        return b"ok"


@ray.remote
def sleep(seconds):
    """How long it took."""
    start = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - start


@ray.remote
def count(*args):
    return len(args)


@ray.remote
def sum_args(*args):
    return sum(sum(arg) for arg in args)


@ray.remote(num_returns=RETURNS)
def numbers():
    return tuple(range(RETURNS))


@ray.remote(num_returns=RETURNS)
def lists():
    return tuple(list(range(LIST)) for _ in range(RETURNS))


def seconds(function):
    """(how long it took, its result)"""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


# ---- actors ---------------------------------------------------------------------------------------------------------


def memory_of(pid):
    """Bytes: what is its own, and its share of what others have, too."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        fields = dict(line.split(":", 1) for line in list(rollup)[1:])
    return 1024 * int(fields["Pss"].split()[0])


def actors_alive():
    took, actors = seconds(lambda: [Actor.remote() for _ in range(ACTORS)])
    more, pids = seconds(lambda: ray.get([actor.pid.remote() for actor in actors]))
    assert len(set(pids)) == ACTORS
    results["actors_1000_per_s"] = ACTORS / (took + more)
    results["worker_mb"] = statistics.median(memory_of(pid) for pid in pids[:: max(1, ACTORS // 32)]) / 1e6


def actors_in_turn():
    def one():
        assert ray.get(Actor.remote().small_value.remote()) == b"ok"

    took, _ = seconds(lambda: [one() for _ in range(IN_TURN)])
    results["actors_10000_in_turn_per_s"] = IN_TURN / took


def burst(actors):
    return seconds(lambda: ray.get([actors[i % len(actors)].small_value.remote() for i in range(BURST)]))[0]


def more_actors_than_cpus():
    few, many = ([Actor.remote() for _ in range(n)] for n in (2, 32))
    burst(few), burst(many)  # so all are there
    results["actors_32_over_2"] = statistics.median(burst(few) / burst(many) for _ in range(PAIRS))


# ---- arguments, returns, objects ------------------------------------------------------------------------------------


def many_args():
    results["args_10000_s"], found = seconds(lambda: ray.get(count.remote(*[ray.put(i) for i in range(ARGS)])))
    assert found == ARGS


def many_list_args():
    args = [[1] * LIST for _ in range(ARGS)]
    results["args_10000_lists_s"], found = seconds(lambda: ray.get(sum_args.remote(*args)))
    assert found == ARGS * LIST


def many_returns():
    results["returns_3000_s"], found = seconds(lambda: [ray.get(ref) for ref in numbers.remote()])
    assert found == list(range(RETURNS))


def many_list_returns():
    results["returns_3000_lists_s"], found = seconds(lambda: [ray.get(ref) for ref in lists.remote()])
    assert len(found) == RETURNS and all(value == found[0] for value in found)


def many_gets(metric, value):
    if metric in only or not only:
        refs = [ray.put(value) for _ in range(GETS)]
        results[metric], found = seconds(lambda: ray.get(refs))
        assert len(found) == GETS and all(len(value) == LIST for value in found)


def gets():
    many_gets("gets_10000_lists_s", list(range(LIST)))
    many_gets("gets_10000_arrays_s", np.arange(LIST))


# ---- tasks of a length ----------------------------------------------------------------------------------------------


def makespan(metric, length, tasks):
    """Over that of tasks that follow each other at once on all CPUs."""
    took, durations = seconds(lambda: ray.get([sleep.remote(length) for _ in range(tasks)]))
    results[metric] = took / (sum(durations) / CPUS)


def makespans():
    for label, (length, tasks) in LENGTHS.items():
        metric = f"makespan_{label}_over_ideal"
        if not only or metric in only:
            makespan(metric, length, tasks)


PARTS = {  # what it measures -> function
    ("args_10000_s",): many_args,
    ("args_10000_lists_s",): many_list_args,
    ("returns_3000_s",): many_returns,
    ("returns_3000_lists_s",): many_list_returns,
    ("gets_10000_lists_s", "gets_10000_arrays_s"): gets,
    tuple(f"makespan_{label}_over_ideal" for label in LENGTHS): makespans,
    ("actors_32_over_2",): more_actors_than_cpus,
    ("actors_1000_per_s", "worker_mb"): actors_alive,
    ("actors_10000_in_turn_per_s",): actors_in_turn,
}


def main():
    ray.init(num_cpus=CPUS, object_store_memory=4 << 30, log_to_driver=False)
    ray.get([sleep.remote(0.2) for _ in range(CPUS)])  # both workers are there
    for metrics, part in PARTS.items():
        if not only or not only.isdisjoint(metrics):
            part()
    ray.shutdown()
    print("RESULT " + json.dumps({name: value for name, value in results.items() if not only or name in only}))


main()
