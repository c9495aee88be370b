"""Calls one by one: profile_workload.py KIND SECONDS, KIND being `task` or `method`. Prints the pids of caller and
worker when it has warmed up, and calls and seconds at the end."""

import json
import os
import sys
import time

import ray_engine as ray

KIND, SECONDS = sys.argv[1], float(sys.argv[2])


@ray.remote
def where():
    return os.getpid()


@ray.remote
def small_value():
    return b"ok"


@ray.remote(num_cpus=0)
class Actor:
    def where(self):
        return os.getpid()

    def small_value(self):
        return b"ok"


def call_for(call, seconds):
    """(calls, seconds)"""
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(100):
            ray.get(call())
        calls += 100
    return calls, elapsed


def main():
    ray.init(num_cpus=1)
    actor = Actor.remote()
    ask, call = (where.remote, small_value.remote) if KIND == "task" else (actor.where.remote, actor.small_value.remote)
    call_for(call, 1)
    print("RESULT " + json.dumps({"caller": os.getpid(), "worker": ray.get(ask())}), flush=True)
    calls, seconds = call_for(call, SECONDS)
    print("RESULT " + json.dumps({"calls": calls, "seconds": seconds}), flush=True)
    ray.shutdown()


main()
