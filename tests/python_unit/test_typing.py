"""Type checkers: the package and the examples are without a fault, and calls have the types they should have.

A line of a sample that is wrong ends in the code of the error that mypy is to find there.
"""

import os
import re
from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[2]
SAMPLES = Path(__file__).parent / "typing_samples"
PACKAGE = ROOT / "python/ray_engine"
CACHE = ROOT / "build/mypy_cache"
ERROR = re.compile(r"^([^:]*):(\d+): error: .*\[([a-z-]+)\]$", re.MULTILINE)


def as_ray(source):
    return source.replace("import ray_engine as ray", "import ray").replace("from ray_engine", "from ray")


SOURCES = {path.stem: path.read_text() for path in SAMPLES.glob("*.py")}
SOURCES |= {f"{name}_as_ray": as_ray(source) for name, source in SOURCES.items()}


def expected(source):
    marks = (re.search(r"  # ([a-z-]+)$", line) for line in source.splitlines())
    return [(number, mark[1]) for number, mark in enumerate(marks, 1) if mark]


def check(names, folder, *, with_plugin):
    """What mypy finds in users' programs: {name: [(line, code), ...]}, and its report."""
    for name in names:
        (folder / f"{name}.py").write_text(SOURCES[name])
    plugin = f"plugins = {PACKAGE}/mypy_plugin.py" if with_plugin else ""
    cache = CACHE / ("with_plugin" if with_plugin else "without_plugin")
    path = f"{PACKAGE.parent}{os.pathsep}{PACKAGE}/_alias"
    options = f"mypy_path = {path}\ncache_dir = {cache}\nimplicit_reexport = False\n{plugin}\n"
    (folder / "mypy.ini").write_text(f"[mypy]\n{options}")
    words = ["--config-file", str(folder / "mypy.ini"), "--follow-imports=silent"]
    report, fault, _ = api.run([*words, *(str(folder / f"{name}.py") for name in names)])
    assert not fault
    errors = {(Path(file).stem, int(line), code) for file, line, code in ERROR.findall(report)}
    return {name: sorted((line, code) for file, line, code in errors if file == name) for name in names}, report


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return check(list(SOURCES), tmp_path_factory.mktemp("typing"), with_plugin=True)


def test_the_package_and_the_examples_have_no_fault(monkeypatch):
    monkeypatch.chdir(ROOT)
    report, fault, status = api.run([])
    assert status == 0 and not fault, report


@pytest.mark.parametrize("name", SOURCES)
def test_calls_have_their_types(name, found):
    errors, report = found
    assert errors[name] == expected(SOURCES[name]), report


def test_tasks_need_no_plugin(tmp_path):
    errors, report = check(["tasks"], tmp_path, with_plugin=False)
    assert errors["tasks"] == expected(SOURCES["tasks"]), report
