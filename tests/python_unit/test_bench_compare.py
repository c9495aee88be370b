"""bench compare: what counts as worse."""

import json
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).resolve().parents[1] / "perf" / "bench_compare.py"


def compare(tmp_path, old, new):
    """Rows are (metric, better, figure, spread)."""
    paths = []
    for name, rows in (("old", old), ("new", new)):
        keys = ("metric", "better", "ray_engine", "spread")
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps({"rows": [dict(zip(keys, row, strict=True)) for row in rows]}))
    return subprocess.run([sys.executable, SCRIPT, *paths], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("better", "old", "new", "spread", "is_worse"),
    [
        ("higher", 100, 79, 0.1, True),
        ("higher", 100, 81, 0.1, False),
        ("higher", 100, 60, 0.5, False),
        ("higher", 100, 300, 0.1, False),
        ("lower", 1.0, 1.3, 0.1, True),
        ("lower", 1.0, 0.5, 0.1, False),
        ("lower", -0.1, 0.1, 0.1, True),
        ("lower", 0, 1, 0.1, True),
        ("lower", 0, 0, 0.1, False),
    ],
)
def test_worse_beyond_a_fifth_and_the_spread(tmp_path, better, old, new, spread, is_worse):
    done = compare(tmp_path, [("m", better, old, spread)], [("m", better, new, 0.05)])
    assert (done.returncode == 1) == is_worse, done.stdout + done.stderr
    assert ("worse than before: m" in done.stderr) == is_worse


def test_rows_of_one_file_alone_are_named(tmp_path):
    done = compare(tmp_path, [("a", "lower", 1, 0), ("b", "lower", 1, 0)], [("a", "lower", 1, 0)])
    assert done.returncode == 0
    assert "old.json: b" in done.stdout
    assert compare(tmp_path, [("a", "lower", 1, 0)], [("b", "lower", 1, 0)]).returncode == 2
