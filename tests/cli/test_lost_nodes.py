"""Loss of any node but the head's: the job goes on and ends with the driver's code. Nothing stays of the lost one."""

import os
import re
import signal

import psutil
import pytest

from tests.python.waiting import wait_for

# Tasks of all nodes wait for the file named by the argument; the driver ends with code 7 when all are done.
PROGRAM = """
import os, sys, time
import ray_engine as ray

ray.init()

@ray.remote(max_retries=-1)
def wait_for_file(i, path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return i

@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")
class Node:
    def name(self):
        return ray.get_runtime_context().get_node_id()

nodes = [Node.remote() for _ in range(8)]
first = ray.get([node.name.remote() for node in nodes])
refs = [wait_for_file.remote(i, sys.argv[1]) for i in range(6)]
print("NODES", len(set(first)), flush=True)
while sum(node["Alive"] for node in ray.nodes()) == 4:
    time.sleep(0.01)
print("LOST", flush=True)
open(sys.argv[1], "w").close()
second = ray.get([node.name.remote() for node in nodes])
alive = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
assert ray.get(refs) == list(range(6))
assert set(second) <= alive and len(set(first) - set(second)) == 1, (first, second)
assert all(a == b for a, b in zip(first, second) if a in alive)
sys.exit(7)
"""


@pytest.fixture
def start(begin, script, tmp_path):
    """start(**environment): the job, at work on four virtual nodes."""

    def start(*options, **environment):
        program = script(PROGRAM)
        words = ["--virtual-nodes", "--num-cpus=2", "--exit-file", tmp_path / "code", *options, program]
        job = begin(*words, tmp_path / "file", ranks=4, env=environment)
        assert "NODES 4" in job.wait_for_output("NODES")
        return job

    return start


def member(job, kind):
    """A process of one of the nodes that are not the head."""
    engines = [psutil.Process(pid) for pid in job.processes("ray-engine-node")]
    engine = next(engine for engine in engines if "--head" not in engine.cmdline())
    supervisor = engine.parent()
    return {
        "engine": engine,
        "supervisor": supervisor,
        "forkserver": next(child for child in supervisor.children() if child.pid != engine.pid),
    }[kind]


@pytest.mark.parametrize("kind", ["engine", "forkserver"])
def test_killed_without_any_flag_of_the_launcher(start, kind):
    job = start()
    member(job, kind).kill()
    assert job.wait() == 7, job.output
    assert re.search(rf"rank \d has lost its {kind}, which was killed by .*; the job goes on without it", job.stderr)
    assert re.search(r"node \d \(.*\) is lost: .*; the session goes on without it", job.stderr)


def test_supervisor_killed_with_the_flag_of_the_launcher(start, tmp_path):
    job = start(OMPI_MCA_orte_enable_recovery="1")
    member(job, "supervisor").kill()
    job.wait()  # mpirun's own code says nothing then
    assert (tmp_path / "code").read_text() == "7\n", job.output


def test_stopped_and_continued_when_it_is_given_up(start):
    """It finds itself shut out, and ends with all its processes while the job goes on."""
    job = start("--heartbeat-interval=0.2", "--heartbeat-limit=1")
    engine = member(job, "engine")
    family = [engine.parent(), *engine.parent().children(recursive=True)]
    engine.suspend()
    job.wait_for_output("LOST")
    engine.resume()
    wait_for(lambda: not any(alive(process) for process in family), "the end of the node that was given up")
    assert job.wait() == 7, job.output
    assert "no sign of life for 1 s" in job.stderr


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_stopped_head_is_given_up_by_all(start):
    """They end by themselves; the head, when it goes on, has lost them all, and the job is ended from outside."""
    job = start("--heartbeat-interval=0.2", "--heartbeat-limit=1")
    engines = [psutil.Process(pid) for pid in job.processes("ray-engine-node")]
    (head,) = [engine for engine in engines if "--head" in engine.cmdline()]
    os.kill(head.pid, signal.SIGSTOP)
    wait_for(lambda: not any(alive(engine) for engine in engines if engine != head), "the end of the other nodes")
    os.kill(head.pid, signal.SIGKILL)
    assert job.wait() != 0
    assert "the head is lost, or has given up this node: no sign of life for 1 s" in job.stderr
