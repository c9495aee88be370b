"""What tasks ask for and nodes have: CPUs, custom resources, memory; requests nobody can serve."""

import subprocess
import sys
import time

import pytest
import ray_engine as ray

from tests.python.waiting import overlap, wait_for


def test_what_there_is(start):
    start(num_cpus=3, resources={"slot": 2}, object_store_memory=100 * 2**20)
    total = ray.cluster_resources()
    assert total["CPU"] == 3 and total["slot"] == 2 and total["object_store_memory"] == 100 * 2**20
    assert total["memory"] > 0
    assert ray.available_resources()["CPU"] == 3
    (node,) = ray.nodes()
    assert node["Alive"] and node["Resources"]["CPU"] == 3 and node["NodeID"] == ray.get_runtime_context().get_node_id()


def test_what_is_left_while_a_task_runs(start, gate):
    start(num_cpus=3, resources={"slot": 2})

    @ray.remote(num_cpus=2, resources={"slot": 2})
    def hold(gate):
        gate.pass_through()

    ref = hold.remote(gate)
    gate.wait_for_arrival()
    left = wait_for(lambda: (r := ray.available_resources()).get("CPU") == 1 and r, "the CPUs to be counted")
    assert "slot" not in left
    gate.open()
    ray.get(ref)
    wait_for(lambda: ray.available_resources().get("CPU") == 3, "the CPUs to be free again")
    assert ray.available_resources()["slot"] == 2


def test_custom_resources_limit_who_runs_at_once(start):
    start(num_cpus=4, resources={"licence": 1})

    @ray.remote(num_cpus=0, resources={"licence": 1})
    def licensed():
        begin = time.time()
        time.sleep(0.1)
        return begin, time.time()

    intervals = sorted(ray.get([licensed.remote() for _ in range(5)], timeout=60))
    assert all(not overlap(pair) for pair in zip(intervals, intervals[1:], strict=False))


def test_fractions(start, gate):
    start(num_cpus=1)

    @ray.remote(num_cpus=0.25)
    def quarter(gate, who):
        gate.pass_through(who)

    refs = [quarter.remote(gate, str(i)) for i in range(5)]
    wait_for(lambda: len(gate.visitors()) == 4, "four quarters")
    assert ray.wait(refs, timeout=0.3)[0] == [] and len(gate.visitors()) == 4
    gate.open()
    ray.get(refs, timeout=60)


def test_memory_is_counted(start, gate):
    start(num_cpus=4, _memory=1000 * 2**20)

    @ray.remote(num_cpus=0, memory=600 * 2**20)
    def half(gate, who):
        gate.pass_through(who)

    refs = [half.remote(gate, str(i)) for i in range(2)]
    wait_for(gate.visitors)
    assert ray.wait(refs, timeout=0.3)[0] == [] and len(gate.visitors()) == 1
    gate.open()
    ray.get(refs, timeout=60)


def test_many_at_once_with_nothing_asked(start, gate):
    start(num_cpus=1)

    @ray.remote(num_cpus=0)
    def nothing(gate, who):
        gate.pass_through(who)

    refs = [nothing.remote(gate, str(i)) for i in range(6)]
    wait_for(lambda: len(gate.visitors()) == 6, "all six")
    gate.open()
    ray.get(refs)


@pytest.mark.parametrize("request_", ["num_cpus=1000", "resources={'unobtainium': 1}", "memory=2**45"])
def test_a_request_nobody_can_serve_is_explained(request_):
    """The driver is told within seconds which request waits and why; the task keeps waiting."""
    code = f"""
import ray_engine as ray

@ray.remote({request_})
def impossible():
    return 1

ray.init(num_cpus=1)
ref = impossible.remote()
assert ray.wait([ref], timeout=8) == ([], [ref])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert "impossible" in text
    assert any(word in text for word in ("unobtainium", "CPU", "memory"))


def test_assigned_resources_are_told(start):
    start(num_cpus=2, resources={"slot": 1})

    @ray.remote(num_cpus=2, resources={"slot": 0.5})
    def f():
        return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(f.remote()) == {"CPU": 2, "slot": 0.5}


def test_a_queue_longer_than_the_cpus_drains(start):
    start(num_cpus=2)

    @ray.remote
    def work(i):
        time.sleep(0.005)
        return i

    assert ray.get([work.remote(i) for i in range(200)], timeout=120) == list(range(200))


def test_different_requests_share_the_cpus(start):
    """Tasks of one kind do not keep those of another from running."""
    start(num_cpus=1)

    @ray.remote
    def common(i):
        time.sleep(0.002)
        return i

    flood = [common.remote(i) for i in range(2000)]
    rare = [common.options(num_cpus=0.5).remote(i) for i in range(3)]
    assert ray.get(rare, timeout=60) == [0, 1, 2]
    assert ray.get(flood, timeout=120) == list(range(2000))
