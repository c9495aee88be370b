"""The examples, as their first lines say they are run."""

import re
import subprocess
import sys

import pytest

from tests.cli.conftest import ROOT, environment
from tests.python import leaks

EXAMPLES = ROOT / "examples"

EXPECTED = {
    "02_tasks/tasks.py": [
        "primes below 40000: 4203",
        "process: True",
        "= 10",
        "sorted by tasks: True",
        "ZeroDivisionError",
    ],
    "03_objects/objects.py": ["right: True", "may write into it: False", "writing fails", "the copy has 1.0", "0.500"],
    "04_actors/actors.py": [
        "in order: [101, 103, 106]",
        "Ada 1056 after 9 moves, Bob 50",
        "refused",
        "on: 50",
        "ActorDiedError",
    ],
}


def check(output, name):
    for text in EXPECTED[name]:
        assert text in output


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("ranks, options", [(None, ()), (2, ()), (2, ("--virtual-nodes",))])
def test_launched(run, name, ranks, options):
    job = run(*options, EXAMPLES / name, ranks=ranks)
    assert job.code == 0, job.output
    check(job.stdout, name)


@pytest.mark.parametrize("name", EXPECTED)
def test_by_python(name, tmp_path):
    machine = leaks.Machine(leaks.new_mark())
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        cwd=tmp_path,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    check(done.stdout, name)
    machine.check()


@pytest.mark.parametrize("ranks, options", [(4, ()), (2, ("--virtual-nodes",))])
def test_model_search(run, tmp_path, ranks, options):
    """The main job: every score is in the file, and the best of them is good."""
    h5py = pytest.importorskip("h5py")
    pytest.importorskip("sklearn")
    scores = tmp_path / "scores.h5"
    job = run(*options, EXAMPLES / "01_model_search" / "model_search.py", "--output", scores, ranks=ranks, limit=300)
    assert job.code == 0, job.output
    best = float(re.search(r"^best accuracy (0\.\d+)$", job.stdout, re.M)[1])
    assert best >= 0.98
    assert float(re.search(r"speed-up (\d+\.\d+)$", job.stdout, re.M)[1]) > 0
    with h5py.File(scores) as file:
        accuracy = file["accuracy"][:]
        assert accuracy.shape[0] >= 60 and accuracy.shape[1] == 5
        assert ((accuracy > 0) & (accuracy <= 1)).all()
        assert len(file["model"]) == len(file["parameters"]) == accuracy.shape[0]
        assert abs(accuracy.mean(axis=1).max() - best) < 1e-4
