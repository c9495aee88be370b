"""Questions to a running session: `ray-engine status`, `list`, `timeline`; `ray ...` inside a launched program."""

import json
import os
import shutil
import signal
import subprocess

from tests.cli.test_start_and_join import started
from tests.python.waiting import wait_for

WAITS = """
import subprocess
import ray

ray.init()

@ray.remote(num_cpus=3)
class Keeper:
    def ready(self):
        pass

@ray.remote(num_cpus=1)
def f():
    pass

@ray.remote(num_cpus=64)
def never():
    pass

keeper = Keeper.options(name="keeper").remote()
ray.get(keeper.ready.remote())
refs = [f.remote(), never.remote()]
group = ray.util.placement_group([{"CPU": 2}] * 2, strategy="STRICT_SPREAD")

def status(*words):
    return subprocess.run(["ray", *words], capture_output=True, text=True)

while "'CPU': 64.0" not in status("status").stdout:
    pass
print(status("status").stdout)
print("VERSION", status("--version").stdout)
print("ACTORS", status("list", "actors", "--filter", "state=ALIVE").stdout.replace("\\n", " "))
print("SUMMARY", status("summary", "actors").stdout.replace("\\n", " "))
print("START", status("start").returncode, status("start").stderr)
"""


HOLDS = """
import subprocess
import ray

ray.init()
ref = ray.put(bytes(3 << 20))
print(subprocess.run(["ray", "status"], capture_output=True, text=True).stdout)
"""


def after(word, output):
    return next(line.partition(" ")[2] for line in output.splitlines() if line.startswith(f"{word} "))


def test_ray_status_inside_a_launched_program(run, script):
    job = run("--num-cpus=3", script(WAITS))
    assert job.code == 0, job.stderr
    report = job.stdout.splitlines()
    demands = report[report.index("Pending Demands:") + 1 :]
    assert " 3.0/3.0 CPU" in report
    one = demands.index(" {'CPU': 1.0}: 1+ pending tasks/actors")
    assert demands[one + 1].startswith("   node 0 ") and demands[one + 1].endswith("CPU 0 free of 3, 1 needed")
    never = demands.index(" {'CPU': 64.0}: 1+ pending tasks/actors")
    assert demands[never + 1].endswith("CPU 3, 64 needed")
    assert " {'CPU': 2.0} * 2 (STRICT_SPREAD): 1+ pending placement groups" in demands
    assert after("VERSION", job.stdout) == "ray, version 2.60.0"
    (actor,) = json.loads(after("ACTORS", job.stdout))
    assert (actor["class_name"], actor["name"]) == ("Keeper", "keeper")
    assert json.loads(after("SUMMARY", job.stdout)) == {
        "summary": {"Keeper": {"state_counts": {"ALIVE": 1}}},
        "total": 1,
    }
    assert after("START", job.stdout).startswith("1 ray start: ") and "ray-engine start" in job.stdout


def ask(*words, **options):
    return subprocess.run([shutil.which("ray-engine"), *words], capture_output=True, text=True, timeout=120, **options)


def test_an_engine_without_a_program_is_asked(begin, tmp_path):
    job, address = started(begin)
    assert ask("sessions").stdout == f"{address}\n"
    for where in ([], [f"--address={address}"]):
        said = ask("status", *where)
        assert said.returncode == 0 and " 0.0/2.0 CPU" in said.stdout.splitlines(), said.stderr
    (node,) = json.loads(ask("list", "nodes").stdout)
    assert node["state"] == "ALIVE" and f" 1 node_{node['node_id']}" in ask("status", "-v").stdout.splitlines()
    assert "Object stores of all nodes" in ask("memory").stdout
    said = ask("timeline", "out.json", cwd=tmp_path)
    assert said.stdout == "wrote out.json\n" and json.loads((tmp_path / "out.json").read_text()) == []
    said = ask("list", "nodes", "--filter", "colour=red")
    assert said.returncode == 2 and "colour" in said.stderr
    job.signal(signal.SIGTERM)
    job.wait(60)
    wait_for(lambda: ask("sessions").stdout == "no session of this user is running on this machine\n", "its end")
    said = ask("status")
    assert said.returncode == 1 and "ray-engine start" in said.stderr


def test_what_the_stores_hold_is_in_use(run, script):
    job = run("--num-cpus=1", "--object-store-memory=128M", script(HOLDS))
    assert job.code == 0, job.stderr
    assert " 3.00MiB/128.00MiB object_store_memory" in job.stdout.splitlines()


def test_the_doctor_names_the_networks_between_nodes():
    told = subprocess.run(["ray-engine", "doctor"], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    lines = dict(line.split(": ", 1) for line in told.stdout.splitlines() if ": " in line)
    assert "/" in lines["between nodes"] and lines["large objects"] and lines["UCX"]


def test_the_doctor_is_told_what_the_user_has_chosen():
    environment = {**os.environ, "UCX_TLS": "tcp", "UCX_NET_DEVICES": "lo"}
    told = subprocess.run(["ray-engine", "doctor"], capture_output=True, text=True, timeout=60, env=environment)
    assert "between nodes: tcp/lo\n" in told.stdout and "set for UCX: nothing" in told.stdout
