"""One round of the microbenchmarks under one engine; prints {"metric": figure} as JSON.

    python micro_workload.py MODULE [METRIC,...]

MODULE is what is imported as ray: ray_engine, or ray (a real one, in its own environment). Metric names and what one
unit is are those of Ray's own microbenchmark.
"""

import importlib
import json
import os
import sys
import time

ray = importlib.import_module(sys.argv[1])
only = set(sys.argv[2].split(",")) if len(sys.argv) > 2 and sys.argv[2] else None
SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
results = {}


def timeit(metric, function, multiplier=1):
    if only and metric not in only:
        return
    end = time.perf_counter() + SECONDS / 4
    while time.perf_counter() < end:
        function()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        function()
        count += 1
    results[metric] = multiplier * count / (time.perf_counter() - start)


@ray.remote
def small_value():
    return b"ok"


@ray.remote
def where():
    return os.getpid()


@ray.remote(num_cpus=0)
class Actor:
    def small_value(self):
        return b"ok"

    def small_value_arg(self, x):
        return b"ok"

    def pid(self):
        return os.getpid()


@ray.remote
class Client:
    def __init__(self, servers):
        self.servers = servers if isinstance(servers, list) else [servers]

    def small_value_batch(self, n):
        results = []
        for server in self.servers:
            results.extend([server.small_value.remote() for _ in range(n)])
        ray.get(results)


def one_to_n_calls(actor):
    client = Client.remote(actor)  # ends with this function
    timeit("1_n_actor_calls_async", lambda: ray.get(client.small_value_batch.remote(5000)), 5000)


def main():
    ray.init(num_cpus=2, log_to_driver=False)
    assert ray.get(where.remote()) != os.getpid()
    value = ray.put(0)
    timeit("single_client_get_calls_Plasma_Store", lambda: [ray.get(value) for _ in range(100)], 100)
    timeit("single_client_put_calls_Plasma_Store", lambda: [ray.put(0) for _ in range(100)], 100)
    timeit("single_client_tasks_and_get_batch", lambda: ray.get([small_value.remote() for _ in range(1000)]))
    timeit("single_client_tasks_sync", lambda: ray.get(small_value.remote()))
    timeit("single_client_tasks_async", lambda: ray.get([small_value.remote() for _ in range(1000)]), 1000)

    actor = Actor.remote()
    assert ray.get(actor.pid.remote()) != os.getpid()
    timeit("1_1_actor_calls_sync", lambda: ray.get(actor.small_value.remote()))
    timeit("1_1_actor_calls_async", lambda: ray.get([actor.small_value.remote() for _ in range(1000)]), 1000)
    one_to_n_calls(actor)

    def wait_1k():
        refs = [small_value.remote() for _ in range(1000)]
        while refs:
            _, refs = ray.wait(refs)

    timeit("single_client_wait_1k_refs", wait_1k)
    ray.shutdown()
    print("RESULT " + json.dumps(results))


main()
