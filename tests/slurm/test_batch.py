"""The batch template and srun, on a real Slurm cluster of four nodes on this machine (lab.sh)."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.python import leaks  # noqa: E402
from tests.python.waiting import wait_for  # noqa: E402

LAB = Path(__file__).with_name("lab.sh")
TEMPLATE = ROOT / "slurm" / "ray-engine.sbatch"
TOOLS = ["sbatch", "slurmctld", "slurmd", "munged", "ip", "nsenter", "unshare", "ray-engine"]

WHERE = """
import collections, os, socket, sys, time
import ray_engine as ray

ray.init()

@ray.remote
def where():
    time.sleep(0.1)
    return socket.gethostname()

hosts = collections.Counter(ray.get([where.remote() for _ in range(40)]))
print("HOSTS", *sorted(hosts), "CPUS", int(ray.cluster_resources()["CPU"]), "ARGS", *sys.argv[1:])
"""


def why_not():
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if os.getuid() != 0:
        return "a Slurm cluster on one machine needs root, for networks and mounts"
    if missing:
        return f"not installed: {', '.join(missing)}"
    if subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "true"], capture_output=True).returncode != 0:
        return "this machine does not let its root make namespaces"
    return ""


pytestmark = [pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def lab():
    """A cluster of four nodes; its folder, which all nodes see. Behind it the machine is as it was."""
    hosts = Path("/etc/hosts").read_text()
    munge = munge_runs()
    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="slurm-lab-", dir=ROOT / "build"))
    environment = {**os.environ, "LAB_DIR": str(folder / "lab")}
    try:
        subprocess.run([LAB, "up", "4"], env=environment, check=True, timeout=120)
        try:
            yield folder
        finally:
            subprocess.run([LAB, "down"], env=environment, check=True, timeout=120)
    finally:
        shutil.rmtree(folder)
    assert Path("/etc/hosts").read_text() == hosts
    assert munge_runs() == munge
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "lab" not in links


def munge_runs():
    return subprocess.run(["munge", "-n"], capture_output=True).returncode == 0


@pytest.fixture
def slurm(lab):
    """slurm(words...): runs a Slurm command in the lab, in its folder; returns the finished process."""
    leaks.new_mark()

    def run(*words, limit=150):
        environment = {**os.environ, "SLURM_CONF": str(lab / "lab" / "slurm.conf")}
        words = [str(word) for word in words]
        return subprocess.run(words, cwd=lab, env=environment, capture_output=True, text=True, timeout=limit)

    yield run
    run("scancel", "--user=root")
    wait_for(lambda: run("squeue", "-h").stdout == "", "an empty queue")
    wait_for(lambda: not leftovers(), "the end of all processes")


def leftovers():
    """Processes of the running test on all nodes: the lab's nodes are on this machine."""
    return leaks.processes(os.environ[leaks.MARK_NAME])


def write(lab, name, text):
    path = lab / name
    path.write_text(text)
    return path


def submit(slurm, lab, *words):
    """sbatch of the template, waited for; returns (exit code, output)."""
    output = lab / f"out-{time.monotonic_ns()}"
    done = slurm("sbatch", "--wait", "--parsable", f"--output={output}", *words)
    text = output.read_text() if output.exists() else done.stderr
    return done.returncode, text


def test_the_template_runs_over_its_nodes(slurm, lab):
    program = write(lab, "where.py", WHERE)
    code, text = submit(slurm, lab, TEMPLATE, program, "one", "--two")
    assert code == 0, text
    found = re.search(r"^HOSTS (.*) CPUS (\d+) ARGS (.*)$", text, re.M)
    assert found, text
    assert len(found[1].split()) == 2 and set(found[1].split()) <= {"n1", "n2", "n3", "n4"}
    assert int(found[2]) >= 2 and found[3] == "one --two"


def test_options_of_the_job_reach_the_template(slurm, lab):
    program = write(lab, "where.py", WHERE)
    code, text = submit(slurm, lab, "--nodes=4", TEMPLATE, "--num-cpus", "1", program)
    assert code == 0, text
    assert "HOSTS n1 n2 n3 n4 CPUS 4" in text


def test_the_exit_code_of_the_driver_is_that_of_the_job(slurm, lab):
    program = write(lab, "seven.py", "import sys\nimport ray_engine as ray\nray.init()\nsys.exit(7)\n")
    code, text = submit(slurm, lab, TEMPLATE, program)
    assert code == 7, text


def test_an_exception_ends_the_job(slurm, lab):
    program = write(lab, "fails.py", "import ray_engine as ray\nray.init()\nraise ValueError('on purpose')\n")
    code, text = submit(slurm, lab, TEMPLATE, program)
    assert code == 1 and "ValueError: on purpose" in text


def test_without_a_program_it_says_how_it_is_used(slurm, lab):
    code, text = submit(slurm, lab, TEMPLATE)
    assert code == 2 and "usage" in text


def test_srun(slurm, lab):
    program = write(lab, "where.py", WHERE)
    done = slurm("srun", "--mpi=pmix", "--exclusive", "-c", "2", "-N", "3", "ray-engine", program)
    assert done.returncode == 0, done.stderr
    assert len(re.search(r"HOSTS (.*) CPUS", done.stdout)[1].split()) == 3


# Every node reads, from one far away, values of several chunks; then the driver reads one of each node.
MOVES = """
import socket
import numpy as np
import ray_engine as ray
from ray_engine import _core
from ray_engine.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init()
SIZE = 20 << 20

def content(seed):
    return np.random.default_rng(seed).integers(0, 256, SIZE, np.uint8)

@ray.remote(num_cpus=0)
class Node:
    def make(self, seed):
        return content(seed)

    def same(self, refs):
        return all(np.array_equal(ray.get(ref), content(seed)) for seed, ref in enumerate(refs))

    def host(self):
        return socket.gethostname()

nodes = [Node.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], False)).remote()
         for node in ray.nodes()]
hosts = set(ray.get([node.host.remote() for node in nodes]))
made = [node.make.remote(seed) for seed, node in enumerate(nodes)]
assert all(ray.get([node.same.remote(made) for node in nodes]))
assert all(np.array_equal(value, content(seed)) for seed, value in enumerate(ray.get(made)))
rows = _core.store_rows()
least = min(row["network"]["object_bytes_received"] for row in rows)
print("MOVED", len(hosts), len(rows), least >= (len(rows) - 1) * SIZE)
"""


def test_values_move_between_the_networks_of_nodes(slurm, lab):
    done = slurm("srun", "--mpi=pmix", "--exclusive", "-c", "2", "-N", "3", "ray-engine", write(lab, "moves.py", MOVES))
    assert done.returncode == 0, done.stderr
    assert "MOVED 3 3 True" in done.stdout


def test_several_tasks_on_a_node(slurm, lab):
    """Two tasks per node: one engine per node, workers of both."""
    program = write(lab, "nodes.py", WHERE + 'print("NODES", len(ray.nodes()))\n')
    done = slurm("srun", "--mpi=pmix", "-N", "2", "--ntasks-per-node=2", "ray-engine", program)
    assert done.returncode == 0, done.stderr
    assert "NODES 2" in done.stdout and done.stdout.count("HOSTS") == 1


def test_srun_without_mpi_is_an_error(slurm, lab):
    """Several ranks that MPI does not know of: never one driver each."""
    program = write(lab, "where.py", WHERE)
    done = slurm("srun", "--mpi=none", "-N", "2", "ray-engine", program)
    assert done.returncode != 0
    assert "HOSTS" not in done.stdout and "MPI" in done.stderr


def test_scancel_leaves_nothing(slurm, lab):
    program = write(
        lab,
        "busy.py",
        "import time\nimport ray_engine as ray\nray.init()\n"
        "refs = [ray.remote(lambda: time.sleep(1000)).remote() for _ in range(4)]\n"
        "print('BUSY', flush=True)\nray.get(refs)\n",
    )
    output = lab / "busy.out"
    job = slurm("sbatch", "--parsable", f"--output={output}", TEMPLATE, program).stdout.strip()
    wait_for(lambda: output.exists() and "BUSY" in output.read_text(), "the program's output")
    assert leftovers()
    slurm("scancel", job)
    wait_for(lambda: not leftovers(), "the end of all processes")


# Tasks of every node wait for the file named by the argument; the driver ends with code 7 when all results are right.
WAITS = """
import os, socket, sys, time
import numpy as np
import ray_engine as ray

ray.init()

@ray.remote(max_retries=-1)
def wait_for_file(i, path):
    while not os.path.exists(path):
        time.sleep(0.01)
    return np.full(1_000_000, i, np.uint8)

@ray.remote(max_retries=-1, scheduling_strategy="SPREAD")
def make(i):
    return np.full(1_000_000, i, np.uint8)

@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD")
class Node:
    def name(self):
        return socket.gethostname()

made = [make.remote(i) for i in range(40)]
ray.wait(made, num_returns=40, fetch_local=False)
nodes = [Node.remote() for _ in range(8)]
hosts = set(ray.get([node.name.remote() for node in nodes]))
waiting = [wait_for_file.remote(i, sys.argv[1]) for i in range(12)]
print("BUSY", len(hosts), flush=True)
while all(node["Alive"] for node in ray.nodes()):
    time.sleep(0.05)
print("LOST", flush=True)
open(sys.argv[1], "w").close()
for i, array in enumerate(ray.get(made)):
    assert array.size == 1_000_000 and (array == i).all()
assert [array[0] for array in ray.get(waiting)] == list(range(12))
assert set(ray.get([node.name.remote() for node in nodes])) < hosts
sys.exit(7)
"""


def begin_waiting(slurm, lab, template, *words):
    """Starts the job and waits until it is at work on its nodes; (job id, output file)."""
    program = write(lab, "waits.py", WAITS)
    output, file = lab / f"out-{time.monotonic_ns()}", lab / f"file-{time.monotonic_ns()}"
    job = slurm("sbatch", "--parsable", f"--output={output}", *words, template, program, file).stdout.strip()
    wait_for(lambda: output.exists() and "BUSY" in output.read_text(), "the program's output")
    return job, output


def laboratory(lab, *words):
    subprocess.run([LAB, *words], env={**os.environ, "LAB_DIR": str(lab / "lab")}, check=True)


def exit_code(slurm, job):
    """Of a job, once it has ended."""

    def ended():
        shown = slurm("scontrol", "show", "job", job).stdout
        state = re.search(r"JobState=(\w+)", shown)[1]
        return shown if state not in ("RUNNING", "COMPLETING", "PENDING") else ""

    return int(re.search(r" ExitCode=(\d+):", wait_for(ended, "the end of the job"))[1])


def test_the_job_goes_on_when_a_node_loses_its_network(slurm, lab):
    """Its own processes end by themselves, as they do not hear of the head any more."""
    job, output = begin_waiting(slurm, lab, TEMPLATE, "--nodes=4")
    laboratory(lab, "cut", "n3")
    try:
        assert exit_code(slurm, job) == 7, output.read_text()
        wait_for(lambda: not leftovers(), "the end of all processes")
        assert re.search(r"node \d \(n3\) is lost", output.read_text())
    finally:
        laboratory(lab, "mend", "n3")
    wait_for(lambda: slurm("sinfo", "-h", "-t", "idle", "-o", "%D").stdout.strip() == "4", "the return of the node")


def test_the_job_goes_on_when_a_node_dies(slurm, lab):
    job, output = begin_waiting(slurm, lab, TEMPLATE, "--nodes=4")
    laboratory(lab, "kill", "n4")
    assert exit_code(slurm, job) == 7, output.read_text()
    wait_for(lambda: not leftovers(), "the end of all processes")
    assert re.search(r"node \d \(n4\) is lost: .*; the session goes on without it", output.read_text())


def test_slurm_ends_the_job_with_a_node_unless_it_is_told_not_to(slurm, lab):
    """The last one: two of the nodes are gone behind it."""
    kept = [line for line in TEMPLATE.read_text().splitlines(True) if "no-kill" not in line and "NO_KILL" not in line]
    template = write(lab, "without.sbatch", "".join(kept))
    job, output = begin_waiting(slurm, lab, template, "--nodes=3")
    laboratory(lab, "kill", "n3")
    assert exit_code(slurm, job) != 7, output.read_text()
    wait_for(lambda: not leftovers(), "the end of all processes")
    assert "the loss of a node will end the job, unless srun was started with --no-kill" in output.read_text()
