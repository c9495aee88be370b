"""Fixtures of the API tests, and the leak checks around them.

Tests that take `cluster` need some running engine with four CPUs, and run everywhere: alone (one engine per file,
started by ray.init()), and as the driver of a job under mpirun (see tests/cli/test_ranks.py). Tests that take `start`
begin their own engines, and run alone only.
"""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import ray_engine as ray  # noqa: E402

from tests.python import leaks  # noqa: E402
from tests.python.waiting import Gate  # noqa: E402

LAUNCHED = "RAY_ENGINE_DRIVER_FD" in os.environ
MARK = leaks.new_mark()


def pytest_collection_modifyitems(config, items):
    """As the driver of a launched job, only tests that take the engine as it is can run."""
    if not LAUNCHED:
        return
    here = str(Path(__file__).parent)
    unfit = [item for item in items if str(item.path).startswith(here) and "cluster" not in item.fixturenames]
    config.hook.pytest_deselected(items=unfit)
    items[:] = [item for item in items if item not in unfit]


@pytest.fixture(scope="session")
def launched_engine():
    """The engine of the job this process is the driver of. It ends with the job."""
    yield ray.init()
    ray.shutdown()


@pytest.fixture(scope="session")
def warmed_up():
    """One start and stop, so that what a process opens once and keeps is no leak."""
    ray.init(num_cpus=1)
    ray.get(ray.put(b"x" * 200_000))
    ray.shutdown()


@pytest.fixture(scope="module")
def solo_engine(warmed_up):
    machine, process = leaks.Machine(MARK), leaks.Process()
    yield ray.init(num_cpus=4, resources={"special": 2}, namespace="tests")
    ray.shutdown()
    process.check()
    machine.check()


@pytest.fixture(scope="module")
def cluster(request):
    """A running engine with at least four CPUs."""
    yield request.getfixturevalue("launched_engine" if LAUNCHED else "solo_engine")


@pytest.fixture
def start(warmed_up):
    """start(**arguments) is ray.init(); it is shut down behind the test, and must leave nothing."""
    ray.shutdown()
    machine, process = leaks.Machine(MARK), leaks.Process()
    yield lambda *args, **kwargs: ray.init(*args, **kwargs)
    ray.shutdown()
    process.check()
    machine.check()


@pytest.fixture
def gate(tmp_path):
    return Gate(tmp_path)


@pytest.fixture
def counter_class(cluster):
    @ray.remote
    class Counter:
        """Counts."""

        kind = "plain"

        def __init__(self, start=0):
            self.n = start

        def add(self, k=1):
            self.n += k
            return self.n

        def pid(self):
            return os.getpid()

        def fail(self):
            raise ValueError("from an actor")

        def hold(self, gate, who="somebody"):
            gate.pass_through(who)
            return self.n

    return Counter
