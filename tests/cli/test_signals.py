"""Ends of every kind: signals to mpirun, SIGKILL of each kind of process. Nothing may stay; exit codes are true."""

import os
import signal
import time

import pytest

from tests.python.waiting import wait_for

BUSY = """
import os, sys, time
import ray_engine as ray

ray.init()

@ray.remote
def busy():
    time.sleep(1000)

@ray.remote
class Actor:
    def pid(self):
        return os.getpid()

    def child(self):
        import subprocess
        return subprocess.Popen(["sleep", "1000"]).pid

actor = Actor.remote()
refs = [busy.remote() for _ in range(4)]
actor_pid = ray.get(actor.pid.remote())
print("WORKER", actor_pid, flush=True)
print("DRIVER", os.getpid(), flush=True)
ray.get(refs)
"""

LAUNCHES = [
    pytest.param({"ranks": None}, id="alone"),
    pytest.param({"ranks": 1}, id="mpirun-1"),
    pytest.param({"ranks": 4}, id="mpirun-4"),
]


def start_busy(begin, script, ranks, *options):
    job = begin("--num-cpus", 2, *options, script(BUSY), ranks=ranks)
    job.wait_for_output("DRIVER")
    words = job.stdout.split()
    job.worker, job.driver = int(words[words.index("WORKER") + 1]), int(words[words.index("DRIVER") + 1])
    return job


@pytest.mark.parametrize("launch", LAUNCHES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_everything(begin, script, launch, number):
    job = start_busy(begin, script, **launch)
    job.signal(number)
    assert job.wait(60) != 0


@pytest.mark.parametrize("ranks", [1, 2])
def test_mpirun_killed(begin, script, ranks):
    """Nothing of ours stays; Open MPI's own session folder does."""
    job = start_busy(begin, script, ranks)
    job.process.kill()
    job.wait()


@pytest.mark.parametrize("launch", LAUNCHES)
def test_driver_killed(begin, script, launch):
    job = start_busy(begin, script, **launch)
    os.kill(job.driver, signal.SIGKILL)
    assert job.wait(60) != 0


@pytest.mark.parametrize("launch", LAUNCHES)
def test_engine_killed(begin, script, launch):
    """The loss of an engine ends the job."""
    job = start_busy(begin, script, **launch)
    engines = job.processes("ray-engine-node")
    assert len(engines) == 1
    os.kill(engines[0], signal.SIGKILL)
    assert job.wait(60) != 0
    assert "engine" in job.output


def test_head_of_virtual_nodes_killed(begin, script):
    job = start_busy(begin, script, 2, "--virtual-nodes")
    (head,) = [
        pid for pid in job.processes("ray-engine-node") if b"--head" in open(f"/proc/{pid}/cmdline", "rb").read()
    ]
    os.kill(head, signal.SIGKILL)
    assert job.wait(60) != 0
    assert "rank 0 has lost its engine, which was killed by signal 9 (SIGKILL); the job ends" in job.output


@pytest.mark.parametrize("ranks", [1, 2])
def test_supervisor_killed(begin, script, ranks):
    job = start_busy(begin, script, ranks)
    supervisors = [pid for pid in job.processes("ray-engine ") if pid not in job.processes("mpirun")]
    supervisors = [pid for pid in supervisors if "ray-engine-node" not in open(f"/proc/{pid}/cmdline").read()]
    assert len(supervisors) >= ranks
    os.kill(supervisors[-1], signal.SIGKILL)
    assert job.wait(60) != 0


def test_forkserver_killed(begin, script):
    job = start_busy(begin, script, 2)
    family = job.processes("_forkserver")
    forkserver = next(pid for pid in family if parent_of(pid) not in family)
    os.kill(forkserver, signal.SIGKILL)
    job.signal(signal.SIGTERM)
    assert job.wait(60) != 0


def parent_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])


def test_worker_killed_is_no_end(begin, script):
    """A worker's death is a matter of its task: the job goes on."""
    program = script("""
import os, signal
import ray_engine as ray

ray.init()

@ray.remote
class Victim:
    def pid(self):
        return os.getpid()

@ray.remote
def f():
    return 1

victim = Victim.remote()
os.kill(ray.get(victim.pid.remote()), signal.SIGKILL)
try:
    ray.get(victim.pid.remote(), timeout=60)
except ray.exceptions.RayActorError:
    print("gone", ray.get(f.remote()))
""")
    job = begin(program, ranks=2)
    assert job.wait() == 0, job.output
    assert job.stdout == "gone 1\n"


def test_stopped_and_continued(begin, script):
    """A suspended job (SIGSTOP of all its processes, as a batch system does) goes on where it was."""
    program = script("""
import sys
import ray_engine as ray

ray.init()

@ray.remote
def f(x):
    return x

print("READY", flush=True)
for line in sys.stdin:
    print(sum(ray.get([f.remote(i) for i in range(100)])), flush=True)
""")
    import subprocess

    job = begin("--virtual-nodes", program, ranks=2, stdin=subprocess.PIPE)
    job.wait_for_output("READY")
    pids = job.processes("")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(7)  # longer than a heartbeat may be late
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    job.process.stdin.write("go\n")
    job.process.stdin.flush()
    job.wait_for_output("4950")
    job.process.stdin.close()
    assert job.wait() == 0, job.output


def test_children_of_workers_do_not_hold_the_job(begin, script):
    """What user code starts and forgets is not ours, but must not keep the job from ending."""
    program = script("""
import subprocess
import ray_engine as ray

ray.init()

@ray.remote
def leave_a_child():
    return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid

print("CHILD", ray.get(leave_a_child.remote()), flush=True)
""")
    job = begin(program, ranks=1)
    assert job.wait(60) == 0, job.output
    child = int(job.stdout.split()[1])
    if os.path.exists(f"/proc/{child}"):
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{child}"))
