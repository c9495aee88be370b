"""What bench_failures.py measures, inside a cluster of virtual nodes. MODE (the argument) is retries, worker, engine,
supervisor or silent: whether calls are timed, or what is killed, or stopped, under a task.

CLOCK_MONOTONIC is the same in all processes of a machine: the task itself says when it began.
"""

import json
import os
import signal
import statistics
import struct
import sys
import tempfile
import time

import psutil
import ray_engine as ray
from ray_engine.cluster_utils import Cluster
from ray_engine.util.scheduling_strategies import NodeAffinitySchedulingStrategy

BEGUN = "dq"  # time and pid of a task that has begun
BLOWS = {"worker": 10, "engine": 3, "supervisor": 3, "silent": 1}
SETTLE_S = 1
CALLS, PAIRS = 2000, 40


@ray.remote(max_retries=-1, resources={"far": 1})
def long_task(fifo):
    with open(fifo, "wb") as file:
        file.write(struct.pack(BEGUN, time.monotonic(), os.getpid()))
    time.sleep(3600)


def wait_until_begun(fifo):
    return struct.unpack(BEGUN, fifo.read(struct.calcsize(BEGUN)))


def engine_of(node):
    children = psutil.Process(node._supervised.process.pid).children()
    return next(child for child in children if child.name().startswith("ray-engine-node"))


def hit(mode, node, worker):
    """Kills or stops what the mode says; returns when, and what is to be let go on at the end."""
    if mode == "worker":
        victim = psutil.Process(worker)
    else:
        victim = psutil.Process(node._supervised.process.pid) if mode == "supervisor" else engine_of(node)
    at = time.monotonic()
    victim.send_signal(signal.SIGSTOP if mode == "silent" else signal.SIGKILL)
    return at, victim


@ray.remote(resources={"far": 1})
def warm_up():
    pass


def add_far(cluster):
    """A node that has run a task, and whose forkserver has done what it does once."""
    node = cluster.add_node(num_cpus=1, resources={"far": 1})
    ray.get(warm_up.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.node_id, soft=False)).remote())
    time.sleep(SETTLE_S)
    return node


def times_to_resume_ms(mode, cluster):
    """From each blow to the beginning of the task's next run, on another node unless only a worker was lost."""
    nodes, times = [add_far(cluster)], []
    fifo = os.path.join(tempfile.mkdtemp(), "begun")
    os.mkfifo(fifo)
    with open(fifo, "r+b", buffering=0) as begun:
        ref = long_task.remote(fifo)
        _, worker = wait_until_begun(begun)
        for _ in range(BLOWS[mode]):
            if mode != "worker":
                nodes.append(add_far(cluster))
            at, victim = hit(mode, nodes[0], worker)
            again, worker = wait_until_begun(begun)
            times.append((again - at) * 1000)
            if mode == "silent":
                victim.resume()
            if mode != "worker":
                cluster.remove_node(nodes.pop(0))
    ray.cancel(ref, force=True)
    return times


@ray.remote
def small_value():
    return b"ok"


def calls_per_second(function):
    start = time.perf_counter()
    ray.get([function.remote() for _ in range(CALLS)])
    return CALLS / (time.perf_counter() - start)


def cost_of_retries_percent():
    """In throughput of the same calls, with retries and without, in turns."""
    with_retries, without = small_value.options(max_retries=3), small_value.options(max_retries=0)
    ratios = []
    for pair in range(PAIRS + 2):
        first, second = (with_retries, without) if pair % 2 else (without, with_retries)
        figures = {function: calls_per_second(function) for function in (first, second)}
        ratios.append(figures[with_retries] / figures[without])
    return 100 * (1 - statistics.median(ratios[2:]))  # the first ones warm up


def main():
    mode = sys.argv[1]
    cluster = Cluster()
    cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address)
    figure = cost_of_retries_percent() if mode == "retries" else statistics.median(times_to_resume_ms(mode, cluster))
    print("RESULT " + json.dumps({mode: figure}), flush=True)
    ray.shutdown()
    cluster.shutdown()


main()
