"""Launching: alone, under mpirun, with virtual nodes; what goes in and what comes out."""

import json
import re
import subprocess

import psutil
import pytest

WHERE = """
import collections, json, os, sys, time
import ray_engine as ray

ray.init()

@ray.remote
def where():
    time.sleep(0.02)
    return ray.get_runtime_context().get_node_id(), os.getpid()

places = []
while len({n for n, _ in places}) < len(ray.nodes()) or not places:
    places += ray.get([where.remote() for _ in range(60)])
print("RESULT", json.dumps({
    "nodes": len(ray.nodes()), "cpus": ray.cluster_resources()["CPU"], "used nodes": len({n for n, _ in places}),
    "pids": len({p for _, p in places}), "own": os.getpid() in {p for _, p in places}, "argv": sys.argv[1:],
}))
"""

LAUNCHES = [
    pytest.param({"ranks": None}, id="alone"),
    pytest.param({"ranks": 1}, id="mpirun-1"),
    pytest.param({"ranks": 2}, id="mpirun-2"),
    pytest.param({"ranks": 4}, id="mpirun-4"),
]


def result(job):
    assert job.code == 0, job.output
    return json.loads(re.search(r"^RESULT (.*)$", job.stdout, re.M)[1])


@pytest.mark.parametrize("launch", LAUNCHES)
def test_one_driver_and_workers(run, script, launch):
    job = run("--num-cpus", 2, script(WHERE), "a", "--option", "b c", **launch)
    found = result(job)
    assert job.stdout.count("RESULT") == 1
    assert found["nodes"] == found["used nodes"] == 1
    assert found["cpus"] == 2 * (launch["ranks"] or 1)
    assert found["pids"] >= 2 and not found["own"]
    assert found["argv"] == ["a", "--option", "b c"]


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_virtual_nodes(run, script, ranks):
    found = result(run("--virtual-nodes", "--num-cpus", 1, script(WHERE), ranks=ranks))
    assert found["nodes"] == found["used nodes"] == ranks and found["cpus"] == ranks


def test_virtual_nodes_have_a_forkserver_once_they_need_one(begin, script, tmp_path):
    program = script("""
import os, sys, time
import ray_engine as ray

ray.init()

@ray.remote(num_cpus=0, scheduling_strategy="SPREAD")
class Node:
    def name(self):
        return ray.get_runtime_context().get_node_id()

def wait_for(path):
    while not os.path.exists(path):
        time.sleep(0.01)

print("HERE", flush=True)
wait_for(sys.argv[1])
actors = [Node.remote() for _ in range(4)]
print("NODES", len(set(ray.get([actor.name.remote() for actor in actors]))), flush=True)
wait_for(sys.argv[2])
""")
    job = begin("--virtual-nodes", "--num-cpus=1", program, tmp_path / "more", tmp_path / "end", ranks=4)

    def supervisors():  # those that have started a forkserver
        family = job.processes("ray_engine._forkserver")
        return {psutil.Process(pid).ppid() for pid in family} - set(family)

    job.wait_for_output("HERE")
    assert len(supervisors()) == 2
    (tmp_path / "more").touch()
    assert "NODES 4" in job.wait_for_output("NODES")
    assert len(supervisors()) == 4
    (tmp_path / "end").touch()
    assert job.wait() == 0, job.output


def test_without_options(run, script):
    """What the machine gives: at least one CPU, whatever mpirun bound the rank to."""
    for ranks in (None, 1, 2):
        assert result(run(script(WHERE), ranks=ranks))["cpus"] >= 1


def test_a_module(run, script, tmp_path):
    package = tmp_path / "a_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(WHERE)
    found = result(run("-m", "a_package", "x", "-y", env={"PYTHONPATH": pythonpath(tmp_path)}, ranks=2))
    assert found["argv"] == ["x", "-y"]


def pythonpath(folder):
    import os

    return os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])


def test_the_scripts_own_modules_are_found_by_workers(run, script):
    script("def helper(x):\n    return x + 1\n", name="own_module.py")
    program = script("""
import ray_engine as ray
import own_module

ray.init()

@ray.remote
def f(x):
    return own_module.helper(x)

print(ray.get(f.remote(1)), ray.get(ray.remote(own_module.helper).remote(5)))
""")
    job = run(program, ranks=2)
    assert (job.code, job.stdout) == (0, "2 6\n"), job.output


def test_import_ray_is_this_engine(run, script):
    program = script("""
import ray, ray_engine

ray.init()

@ray.remote
def f():
    import ray as there
    return there.__version__, there.__name__

assert ray is ray_engine
print(ray.get(f.remote()))
""")
    job = run(program, ranks=2)
    assert (job.code, job.stdout) == (0, "('2.60.0', 'ray_engine')\n"), job.output


@pytest.mark.parametrize("ranks", [None, 2])
def test_standard_input_and_output_pass_through(begin, script, ranks):
    program = script("""
import sys
import ray_engine as ray

ray.init()
print("out:", sys.stdin.read().upper())
print("err:", "on stderr", file=sys.stderr)
""")
    job = begin(program, ranks=ranks, stdin=subprocess.PIPE)
    job.process.stdin.write("some input\n")
    job.process.stdin.close()
    assert job.wait() == 0, job.output
    assert job.stdout == "out: SOME INPUT\n\n"
    assert "err: on stderr" in job.stderr


@pytest.mark.parametrize("ranks", [None, 1, 2])
@pytest.mark.parametrize("ending, code", [("", 0), ("sys.exit(7)", 7), ("sys.exit()", 0), ("os._exit(3)", 3)])
def test_exit_code_of_the_driver(run, script, tmp_path, ranks, ending, code):
    program = script(f"import os, sys\nimport ray_engine as ray\nray.init()\n{ending}\n")
    exit_file = tmp_path / "code"
    job = run("--exit-file", exit_file, program, ranks=ranks)
    assert job.code == code, job.output
    assert int(exit_file.read_text()) == code


def test_exit_code_of_a_driver_that_never_starts_the_engine(run, script):
    for ranks in (None, 2):
        assert run(script("raise SystemExit(5)"), ranks=ranks).code == 5


@pytest.mark.parametrize("ranks", [None, 2])
def test_an_exception_in_the_driver(run, script, ranks):
    program = script("""
import time
import ray_engine as ray

ray.init()

@ray.remote
def for_ever():
    time.sleep(1000)

refs = [for_ever.remote() for _ in range(3)]
raise ValueError("on purpose")
""")
    job = run(program, ranks=ranks)
    assert job.code == 1
    assert "ValueError: on purpose" in job.stderr and "Traceback" in job.stderr


def test_output_of_workers_appears_at_the_driver(run, script):
    program = script("""
import ray_engine as ray

ray.init()

@ray.remote
def speaks():
    print("said by a worker")

ray.get([speaks.remote() for _ in range(3)])
""")
    job = run("--virtual-nodes", program, ranks=2)
    assert job.code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", job.output)
    assert len(re.findall(r"^\(speaks pid=\d+.*\) said by a worker$", text, re.M)) == 3


def test_log_folder(run, script, tmp_path):
    program = script("import ray_engine as ray\nray.init()\nprint(ray.get(ray.put(1)))\n")
    logs = tmp_path / "logs"
    logs.mkdir()
    assert run("--virtual-nodes", program, ranks=2).code == 0
    assert list(logs.iterdir()) == []
    assert run("--virtual-nodes", "--log-dir", logs, program, ranks=2).code == 0
    assert len([path for path in logs.iterdir() if path.is_file()]) == 2


def test_more_ranks_than_cores(run, script):
    assert result(run("--num-cpus", 1, script(WHERE), ranks=8))["cpus"] == 8


def test_programs_that_use_mpi_in_tasks_get_no_variables_of_the_launcher(run, script):
    program = script("""
import os
import ray_engine as ray

ray.init()

@ray.remote
def look():
    prefixes = ("OMPI_", "PMIX_", "PMI_")
    return sorted(name for name in os.environ if name.startswith(prefixes) and "ALLOW_RUN" not in name)

print(ray.get(look.remote()))
""")
    job = run(program, ranks=2)
    assert (job.code, job.stdout) == (0, "[]\n"), job.output


def test_large_values_between_virtual_nodes(run, script):
    program = script("""
import numpy as np
import ray_engine as ray

ray.init()
array = np.arange(4_000_000)
ref = ray.put(array)

@ray.remote(scheduling_strategy="SPREAD")
def total(values):
    return int(values.sum()), ray.get_runtime_context().get_node_id()

@ray.remote(scheduling_strategy="SPREAD")
def make(i):
    return np.full(500_000, i)

found = ray.get([total.remote(ref) for _ in range(8)])
assert {value for value, _ in found} == {int(array.sum())}
made = ray.get([make.remote(i) for i in range(6)])
print(len({node for _, node in found}), [int(values[0]) for values in made])
""")
    job = run("--virtual-nodes", "--num-cpus", 2, program, ranks=2)
    assert job.code == 0, job.output
    assert job.stdout == "2 [0, 1, 2, 3, 4, 5]\n"
