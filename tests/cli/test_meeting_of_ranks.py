"""How the ranks of a job meet: by PMIx or MPI, and what happens when one does not come."""

import sys

import pytest

PROGRAM = """
import ray_engine as ray

ray.init()
print("NODES", len(ray.nodes()), ray.get(ray.remote(lambda: "ran").remote()))
"""


@pytest.mark.parametrize("how", ["auto", "pmix", "mpi"])
@pytest.mark.parametrize("options, nodes", [((), 1), (("--virtual-nodes",), 3)])
def test_three_ranks(run, script, how, options, nodes):
    job = run("--bootstrap", how, *options, script(PROGRAM), ranks=3)
    assert job.code == 0, job.output
    assert f"NODES {nodes} ran" in job.stdout


def test_an_unknown_way_is_refused(run, script):
    job = run("--bootstrap", "telepathy", script(PROGRAM))
    assert job.code == 2
    assert "auto, pmix or mpi" in job.stderr


@pytest.mark.parametrize("how", ["pmix", "mpi"])
def test_a_rank_that_does_not_come_ends_the_job(run, script, how):
    """Rank 2 is another program, which knows of no meeting; its siblings say whom they miss, and leave nothing."""
    other = [":", "-n", 1, sys.executable, "-c", "import time; time.sleep(1000)"]
    words = ["--bootstrap", how, "--bootstrap-timeout", 3, "--virtual-nodes", script(PROGRAM)]
    job = run(*words, *other, ranks=2)
    assert job.code == 72, job.output
    assert "have not come within 3 s" in job.stderr and "--bootstrap-timeout" in job.stderr
    assert "NODES" not in job.stdout
