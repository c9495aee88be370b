"""Programs as users write them for other packages, unchanged: each is started by python, and by the launcher."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray_engine

from tests.python import leaks

HERE = Path(__file__).parent
ALIAS = os.path.join(os.path.dirname(ray_engine.__file__), "_alias")

EXPECTED = {
    "grid_search.py": ["candidates: 6 good: True", "squares: 2470"],
    "word_count.py": ["most often: ('the', 40)", "the same: True squares: 285"],
    "progress.py": ["40/40", "total: 2340"],
    "search_minimum.py": ["trials: 60 near the minimum: True"],
}
NEEDS = {"grid_search.py": "sklearn", "progress.py": "tqdm", "search_minimum.py": "optuna"}


@pytest.mark.parametrize("launch", [[sys.executable], ["ray-engine", "--num-cpus", "2"]], ids=["python", "ray-engine"])
@pytest.mark.parametrize("name", EXPECTED)
def test_program(name, launch, tmp_path):
    pytest.importorskip(NEEDS.get(name, "ray_engine"))
    machine = leaks.Machine(leaks.new_mark())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([ALIAS, *filter(None, sys.path)])}
    environment.pop("RAY_ENGINE_DRIVER_FD", None)
    done = subprocess.run(
        [*launch, HERE / name], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for text in EXPECTED[name]:
        assert text in done.stdout
    machine.check()
