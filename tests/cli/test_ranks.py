"""The API tests as the driver of a launched job: pytest itself is the program that ray-engine runs."""

import re

import pytest

from tests.cli.conftest import ROOT

LAUNCHES = [
    pytest.param(1, (), 4, id="mpirun-1"),
    pytest.param(2, (), 2, id="mpirun-2"),
    pytest.param(4, (), 2, id="mpirun-4"),
    pytest.param(2, ("--virtual-nodes",), 2, id="virtual-2"),
    pytest.param(4, ("--virtual-nodes",), 2, id="virtual-4"),
]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("ranks, options, cpus", LAUNCHES)
def test_api_tests(run, ranks, options, cpus):
    words = ["--num-cpus", cpus, "--resources", "special=2", *options, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    job = run(
        *words, "--rootdir", ROOT, "-c", ROOT / "pyproject.toml", ROOT / "tests" / "python", ranks=ranks, limit=1100
    )
    assert job.code == 0, job.output[-6000:]
    assert int(re.search(r"(\d+) passed", job.stdout)[1]) > 100
