"""One round of the microbenchmarks under one engine; prints {"metric": figure} as JSON.

    python micro_workload.py MODULE [METRIC,...]

MODULE is what is imported as ray: ray_engine, or ray (a real one, in its own environment). Metric names and what
one unit is are those of Ray's own microbenchmark.
"""

import importlib
import os
import sys

from lines import Lines

ray = importlib.import_module(sys.argv[1])
lines = Lines(*sys.argv[2:])
timeit, is_wanted = lines.time, lines.is_wanted
# Ray's own script takes half as many actors as there are CPUs, one here. How many, and their names' ends.
FANS = {1: "", 32: "_n32"} if ray.__name__ == "ray_engine" else {1: ""}


@ray.remote
def small_value():
    return b"ok"


@ray.remote
def where():
    return os.getpid()


@ray.remote
def put_small(n):
    for _ in range(n):
        ray.put(0)


@ray.remote
def put_large(n):
    for _ in range(n):
        ray.put(zeros(10 << 20))


@ray.remote
def refs_of(n):
    return [ray.put(1) for _ in range(n)]


@ray.remote
def calls_of(actors, n):
    ray.get([actors[i % len(actors)].small_value.remote() for i in range(n)])


def zeros(count):
    """An array of so many int64 (8 bytes each)."""
    import numpy  # workers need not load it for what else is measured

    return numpy.zeros(count, dtype=numpy.int64)


@ray.remote(num_cpus=0)
class Actor:
    def small_value(self):
        return b"ok"

    def small_value_arg(self, x):
        return b"ok"

    def small_value_batch(self, n):
        ray.get([small_value.remote() for _ in range(n)])

    def pid(self):
        return os.getpid()


@ray.remote(num_cpus=0)
class AsyncActor:
    async def small_value(self):
        return b"ok"

    async def small_value_with_arg(self, x):
        return b"ok"


@ray.remote(num_cpus=0)
class Client:
    def __init__(self, servers):
        self.servers = servers if isinstance(servers, list) else [servers]

    def small_value_batch(self, n):
        results = []
        for server in self.servers:
            results.extend([server.small_value.remote() for _ in range(n)])
        ray.get(results)

    def small_value_batch_arg(self, n):
        value = ray.put(0)
        results = []
        for server in self.servers:
            results.extend([server.small_value_arg.remote(value) for _ in range(n)])
        ray.get(results)


def objects():
    value = ray.put(0)
    timeit("single_client_get_calls_Plasma_Store", lambda: [ray.get(value) for _ in range(100)], 100)
    timeit("single_client_put_calls_Plasma_Store", lambda: [ray.put(0) for _ in range(100)], 100)
    timeit("multi_client_put_calls_Plasma_Store", lambda: ray.get([put_small.remote(100) for _ in range(10)]), 1000)
    if is_wanted("single_client_put_gigabytes"):
        array = zeros(100 << 20)
        timeit("single_client_put_gigabytes", lambda: ray.put(array), 0.8)
    timeit("multi_client_put_gigabytes", lambda: ray.get([put_large.remote(10) for _ in range(10)]), 10 * 8 * 0.1)
    if is_wanted("single_client_get_object_containing_10k_refs"):
        many = refs_of.remote(10_000)
        timeit("single_client_get_object_containing_10k_refs", lambda: ray.get(many))


def tasks():
    timeit("single_client_tasks_and_get_batch", lambda: ray.get([small_value.remote() for _ in range(1000)]))
    timeit("single_client_wait_1k_refs", wait_1k)
    timeit("single_client_tasks_sync", lambda: ray.get(small_value.remote()))
    timeit("single_client_tasks_async", lambda: ray.get([small_value.remote() for _ in range(1000)]), 1000)
    submitters = [Actor.remote() for _ in range(4)]
    timeit(
        "multi_client_tasks_async", lambda: ray.get([a.small_value_batch.remote(10_000) for a in submitters]), 40_000
    )


def wait_1k():
    refs = [small_value.remote() for _ in range(1000)]
    while refs:
        _, refs = ray.wait(refs)


def actors():
    actor = Actor.remote()
    assert ray.get(actor.pid.remote()) != os.getpid()
    timeit("1_1_actor_calls_sync", lambda: ray.get(actor.small_value.remote()))
    timeit("1_1_actor_calls_async", lambda: ray.get([actor.small_value.remote() for _ in range(1000)]), 1000)
    threaded = Actor.options(max_concurrency=16).remote()
    timeit("1_1_actor_calls_concurrent", lambda: ray.get([threaded.small_value.remote() for _ in range(1000)]), 1000)
    for n, suffix in FANS.items():
        fan(Actor, n, suffix, "")
        one_each(n, suffix)


def async_actors():
    actor = AsyncActor.remote()
    timeit("1_1_async_actor_calls_sync", lambda: ray.get(actor.small_value.remote()))
    timeit("1_1_async_actor_calls_async", lambda: ray.get([actor.small_value.remote() for _ in range(1000)]), 1000)
    timeit(
        "1_1_async_actor_calls_with_args_async",
        lambda: ray.get([actor.small_value_with_arg.remote(i) for i in range(1000)]),
        1000,
    )
    for n, suffix in FANS.items():
        fan(AsyncActor, n, suffix, "async_")


def fan(kind, n, suffix, prefix):
    """Calls of one actor, and of several tasks, to n actors of that kind."""
    one, several = f"1_n_{prefix}actor_calls_async{suffix}", f"n_n_{prefix}actor_calls_async{suffix}"
    if not is_wanted(one, several):
        return
    servers = [kind.remote() for _ in range(n)]
    client = Client.remote(servers)
    timeit(one, lambda: ray.get(client.small_value_batch.remote(5000)), 5000 * n)
    timeit(several, lambda: ray.get([calls_of.remote(servers, 5000) for _ in range(4)]), 4 * 5000)


def one_each(n, suffix):
    """n clients, each with an actor of its own, whose calls have a reference as argument."""
    metric = f"n_n_actor_calls_with_arg_async{suffix}"
    if is_wanted(metric):
        clients = [Client.remote(Actor.remote()) for _ in range(n)]
        timeit(metric, lambda: ray.get([client.small_value_batch_arg.remote(1000) for client in clients]), 1000 * n)


def groups():
    from importlib import import_module

    util = import_module(f"{ray.__name__}.util")

    def create_and_remove():
        created = [util.placement_group([{"custom": 0.001}]) for _ in range(100)]
        for group in created:
            group.wait(timeout_seconds=30)
        for group in created:
            util.remove_placement_group(group)

    timeit("placement_group_create/removal", create_and_remove, 100)


def main():
    ray.init(num_cpus=2, resources={"custom": 100}, object_store_memory=4 << 30, log_to_driver=False)
    assert ray.get(where.remote()) != os.getpid()
    for part in (objects, tasks, actors, async_actors, groups):
        part()
    ray.shutdown()
    lines.print()


main()
