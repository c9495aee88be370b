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


def test_the_loss_of_a_node_ends_the_job(slurm, lab):
    program = write(
        lab,
        "waits.py",
        "import time\nimport ray_engine as ray\nray.init()\nprint('BUSY', flush=True)\ntime.sleep(1000)\n",
    )
    output = lab / "lost.out"
    job = slurm("sbatch", "--parsable", "--nodes=4", f"--output={output}", TEMPLATE, program).stdout.strip()
    wait_for(lambda: output.exists() and "BUSY" in output.read_text(), "the program's output")
    subprocess.run([LAB, "kill", "n4"], env={**os.environ, "LAB_DIR": str(lab / "lab")}, check=True)
    wait_for(lambda: job not in slurm("squeue", "-h", "-o", "%i").stdout.split(), "the end of the job")
    wait_for(lambda: not leftovers(), "the end of all processes")
