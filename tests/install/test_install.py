"""Installs into a fresh prefix, by CMake and by pip, and runs a program outside the tree with what was installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERSION = (ROOT / "VERSION").read_text().strip()

PROGRAM = """
import os
import subprocess
import sys
import ray_engine as ray

@ray.remote
def pid_and_square(x):
    return os.getpid(), x * x

ray.init()
results = ray.get([pid_and_square.remote(x) for x in range(10)])
assert os.getpid() not in {pid for pid, _ in results}
if len(sys.argv) > 1:  # under the launcher
    assert "ray, version" in subprocess.run(["ray", "--version"], capture_output=True, text=True).stdout
print("sum", sum(square for _, square in results), "from", os.path.dirname(ray.__file__))
"""

pytestmark = pytest.mark.timeout(900)


def run(command, **kwargs):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **kwargs)
    assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def environment(*path):
    """Nothing of the build tree: only the system, and the folders named."""
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return root | {"HOME": os.environ["HOME"], "PATH": ":".join([*map(str, path), "/usr/bin", "/bin"])}


def check_runs(launcher, package, env, folder):
    """The launcher says its version, and runs a program alone and under mpirun with the installed package."""
    (folder / "program.py").write_text(PROGRAM)
    assert VERSION in run([launcher, "--version"], cwd=folder, env=env)
    for launch in ([launcher], ["mpirun", "--oversubscribe", "-n", "2", launcher]):
        output = run([*launch, "program.py", "launched"], cwd=folder, env=env)
        assert f"sum 285 from {package}" in output


def test_cmake_install(tmp_path):
    prefix, outside = tmp_path / "prefix", tmp_path / "outside"
    outside.mkdir()
    run(["cmake", "--install", ROOT / "build" / "release", "--prefix", prefix])
    env = environment(Path(sys.executable).parent)
    check_runs(prefix / "bin" / "ray-engine", prefix / "lib" / "ray-engine" / "python" / "ray_engine", env, outside)


def test_pip_install(tmp_path):
    prefix, outside = tmp_path / "prefix", tmp_path / "outside"
    outside.mkdir()
    run([sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", tmp_path, ROOT])
    (wheel,) = tmp_path.glob("ray_engine-*.whl")
    run([sys.executable, "-m", "venv", prefix])
    run([prefix / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", wheel])
    (package,) = prefix.glob("lib/python*/site-packages/ray_engine")
    env = environment(prefix / "bin")
    check_runs(prefix / "bin" / "ray-engine", package, env, outside)
    output = run([prefix / "bin" / "python", "program.py"], cwd=outside, env=env)
    assert f"sum 285 from {package}" in output
