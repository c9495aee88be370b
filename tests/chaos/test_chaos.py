"""A short chaos run: see run.py, which runs for longer and with other rates by hand."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(700)
def test_results_are_those_of_a_run_without_faults():
    words = [sys.executable, Path(__file__).parent / "run.py", "--minutes=1", "--workers-per-second=3"]
    run = subprocess.run(words, capture_output=True, text=True, timeout=680)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "rounds were right" in run.stderr
