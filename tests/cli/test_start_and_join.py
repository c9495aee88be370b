"""`ray-engine start`: an engine without a driver, and drivers that join it."""

import re
import signal
import subprocess
import sys

import pytest

JOIN = """
import sys
import ray_engine as ray

ray.init(address=sys.argv[1])

@ray.remote
def f(x):
    return x + 1

print("joined", ray.get(f.remote(1)), int(ray.cluster_resources()["CPU"]))
"""


def join(address):
    return subprocess.run([sys.executable, "-c", JOIN, address], capture_output=True, text=True, timeout=120)


def started(begin, *options, ranks=None):
    job = begin("start", "--num-cpus", 2, *options, ranks=ranks)
    job.wait_for_output("ray-engine/")
    return job, re.search(r"ray-engine/\d+/[\w.-]+/\d+", job.stdout)[0]


@pytest.mark.parametrize("ranks", [None, 2])
def test_drivers_join_and_leave(begin, ranks):
    job, address = started(begin, ranks=ranks)
    cpus = 2 * (ranks or 1)
    for where in ("auto", address, "auto"):
        done = join(where)
        assert (done.returncode, done.stdout) == (0, f"joined 2 {cpus}\n"), done.stderr
    assert job.process.poll() is None
    job.signal(signal.SIGTERM)
    job.wait(60)


def test_environment_names_the_engine(begin, script):
    job, address = started(begin)
    program = script("import ray_engine as ray\nray.init()\nprint(ray.cluster_resources()['CPU'])\n")
    import os

    done = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "RAY_ADDRESS": address},
    )
    assert (done.returncode, done.stdout) == (0, "2.0\n"), done.stderr
    job.signal(signal.SIGINT)
    job.wait(60)


def test_two_engines(begin):
    """ "auto" does not guess: it names both."""
    first, first_address = started(begin, "--session-name", "first")
    second, second_address = started(begin, "--session-name", "second")
    assert first_address != second_address and "first" in first_address
    done = join("auto")
    assert done.returncode != 0
    assert first_address in done.stderr and second_address in done.stderr
    assert join(second_address).stdout == "joined 2 2\n"
    for job in (first, second):
        job.signal(signal.SIGTERM)
        job.wait(60)


def test_a_node_finds_the_one_session(begin, run):
    job = run("node", "--join=auto")
    assert job.code == 2 and "no session" in job.stderr
    job = run("node", "--join=nonsense")
    assert job.code == 2 and "--join" in job.stderr and "ray-engine sessions" in job.stderr
    engine, address = started(begin, "--session-name", "first")
    node = begin("node", "--join=auto", "--num-cpus=3")
    assert "session first" in node.wait_for_output("has joined")
    assert join("auto").stdout == "joined 2 5\n"
    other, other_address = started(begin, "--session-name", "second")
    job = run("node", "--join=auto")
    assert job.code == 2 and address in job.stderr and other_address in job.stderr
    for one in (other, node, engine):
        one.signal(signal.SIGTERM)
        one.wait(60)


def test_a_driver_that_is_killed_leaves_the_engine_as_it_was(begin):
    job, address = started(begin)
    code = JOIN + "\nimport os, time\nref = ray.remote(lambda: time.sleep(1000)).remote()\nos.kill(os.getpid(), 9)\n"
    done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, timeout=120)
    assert done.returncode == -9
    assert join(address).stdout == "joined 2 2\n"
    job.signal(signal.SIGTERM)
    job.wait(60)
