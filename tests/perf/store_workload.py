"""One round of the store's benchmarks; prints RESULT {"metric": bytes per second, "metric/limit": what bounds it}.

    python store_workload.py MODULE METRIC,... FOLDER GIB

MODULE is what is imported as ray: ray_engine, or ray (a real one, in its own environment), which has puts only.

Spilling: GIB GiB go through a store of 1 GiB that is full already; FOLDER is where the file lies. Limits of puts: the
same bytes copied between arrays that this process has used before, in as many processes at a time.
"""

import concurrent.futures
import importlib
import json
import sys
import time

import numpy as np

ray = importlib.import_module(sys.argv[1])
STORE = 1 << 30
only, folder, GIB = sys.argv[2].split(","), sys.argv[3], float(sys.argv[4])
TOTAL = int(GIB * (1 << 30))
REPEATS, SPILL_ROUNDS = 5, 3  # the best counts: memory that the kernel has not used for long is slow at first
AT_A_TIME = 32 << 20  # bytes that are read by one get
results = {}


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def put(array, count, refs):
    for _ in range(count):
        refs.append(ray.put(array))


def spill(size, array):
    """References to TOTAL bytes beyond what fills the store; how long it took to put them."""
    refs = []
    put(array, STORE // size, refs)
    return refs, seconds(put, array, TOTAL // size, refs)


def read(refs, size):
    for value in ray.get(refs):
        assert len(value) == size


def restore(size, refs):
    """Two threads, so that values are unpacked while others come."""
    step = AT_A_TIME // size
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        parts = [refs[first : first + step] for first in range(0, TOTAL // size, step)]
        for _ in threads.map(read, parts, [size] * len(parts)):
            pass


def wait_until_empty():
    while ray._core.store_rows()[0]["on_disk"] > 0:
        time.sleep(0.01)


def spilling(label, size):
    if f"spill_{label}" not in only and f"restore_{label}" not in only:
        return
    ray.init(num_cpus=1, object_store_memory=STORE, object_spilling_directory=folder)
    array = np.frombuffer(np.random.default_rng(1).bytes(size), np.uint8)
    rates = {"spill": [], "restore": []}
    for _ in range(SPILL_ROUNDS):
        refs, took = spill(size, array)
        rates["spill"].append(TOTAL / took)
        rates["restore"].append(TOTAL / seconds(restore, size, refs))
        del refs
        wait_until_empty()
    (row,) = ray._core.store_rows()
    least = SPILL_ROUNDS * (TOTAL - STORE / 2)
    assert row["spilled"] >= least and row["restored"] >= least, row
    results.update({f"{what}_{label}": max(figures) for what, figures in rates.items()})
    ray.shutdown()


def best(function, *arguments):
    return min(seconds(function, *arguments) for _ in range(REPEATS))


def put_and_drop(array):
    ray.put(array)


def copies(size):
    """Seconds for a copy of so many bytes, source and target warm."""
    source, target = np.ones(size, np.uint8), np.ones(size, np.uint8)
    return best(np.copyto, target, source)


def put_large():
    size = 800_000_000
    ray.init(num_cpus=1, object_store_memory=2 << 30)
    array = np.ones(size, np.uint8)
    put_and_drop(array)
    results["put_large"] = size / best(put_and_drop, array)
    results["put_large/limit"] = size / copies(size)
    ray.shutdown()


def put_large_2():
    """Both workers at the same time, for as long."""
    size = 80_000_000
    ray.init(num_cpus=2, object_store_memory=2 << 30)

    @ray.remote
    class Worker:
        def __init__(self):
            self.source, self.target = np.ones(size, np.uint8), np.ones(size, np.uint8)

        def puts(self, count):
            for _ in range(count):
                put_and_drop(self.source)

        def copies(self, count):
            for _ in range(count):
                np.copyto(self.target, self.source)

    workers, count = [Worker.remote() for _ in range(2)], 10

    def together(method):
        ray.get([getattr(worker, method).remote(count) for worker in workers])

    together("puts"), together("copies")
    results["put_large_2"] = 2 * count * size / best(together, "puts")
    results["put_large_2/limit"] = 2 * count * size / best(together, "copies")
    ray.shutdown()


spilling("1mib", 1 << 20)
spilling("128kib", 128 << 10)
if "put_large" in only:
    put_large()
if "put_large_2" in only:
    put_large_2()
print(
    "RESULT", json.dumps({name: value for name, value in results.items() if name.partition("/")[0] in only}), flush=True
)
