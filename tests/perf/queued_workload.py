"""Very many tasks that are queued at their owner and then run; prints RESULT {"metric": figure}.

    python queued_workload.py COUNT

A first task holds the only CPU until all are queued. What the references' list takes itself is not counted.
"""

import json
import os
import sys
import tempfile
import time

import psutil
import ray_engine as ray

COUNT = int(sys.argv[1])


@ray.remote
def small_value():
    return b"ok"


@ray.remote
def wait_for_end_of(pipe):
    with open(pipe) as end:
        end.read()


def anonymous():
    """Bytes of this process's own, without shared memory."""
    memory = psutil.Process().memory_info()
    return memory.rss - memory.shared


ray.init(num_cpus=1)
ray.get([small_value.remote() for _ in range(1000)])
with tempfile.TemporaryDirectory() as folder:
    pipe = os.path.join(folder, "gate")
    os.mkfifo(pipe)
    first = wait_for_end_of.remote(pipe)
    with open(pipe, "w"):  # opened once the task has come so far
        refs = [None] * COUNT
        before, start = anonymous(), time.perf_counter()
        for i in range(COUNT):
            refs[i] = small_value.remote()
        queued = time.perf_counter()
        grown = anonymous() - before
    ray.get(first)
start_of_drain = time.perf_counter()
ray.get(refs)
end = time.perf_counter()
ray.shutdown()
results = {
    "bytes_per_queued_task": grown / COUNT,
    "queued_1m_tasks_submitted_per_s": COUNT / (queued - start),
    "queued_1m_tasks_drained_per_s": COUNT / (end - start_of_drain),
}
print("RESULT", json.dumps(results), flush=True)
