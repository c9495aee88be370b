"""The benchmarks run to their end and leave nothing behind (they check that themselves); figures are not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PERF = Path(__file__).resolve().parents[1] / "perf"
PARTS = {  # benchmark -> rows that take little time, and peers that need no installation
    "micro": (["single_client_tasks_sync", "1_1_actor_calls_async"], ["processpool", "mppool", "limit"]),
    "many": (["args_10000_s", "returns_3000_s", "actors_32_over_2"], []),
    "start": (["solo_first_task_s"], []),
}


@pytest.mark.parametrize("name", PARTS)
def test_benchmark_measures_what_it_is_asked_for(name, tmp_path):
    rows, peers = PARTS[name]
    report = tmp_path / "report.json"
    options = ["--rounds", "1", "--only", ",".join(rows), "--json", report]
    if peers:
        options += ["--against", ",".join(peers)]
    done = subprocess.run(
        [sys.executable, PERF / f"bench_{name}.py", *options],
        env={**os.environ, "BENCH_SECONDS": "0.05"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(report.read_text())["rows"]
    assert {row["metric"] for row in found} == set(rows)
    for row in found:
        assert all(row[engine] > 0 for engine in ["ray_engine", *peers]), row


def test_a_peer_that_does_not_exist_is_refused():
    command = [sys.executable, PERF / "bench_micro.py", "--against", "nobody"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no peer 'nobody'; there are: ray, dask" in done.stderr


def test_a_row_that_does_not_exist_is_refused():
    command = [sys.executable, PERF / "bench_many.py", "--only", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "there is no row nothing" in done.stderr
