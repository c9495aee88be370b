"""The engines and libraries that benchmarks compare with: each in a Python environment of its own,
build/peers/NAME, made from PyPI when it is first needed. The project's own environment knows nothing of them."""

import pathlib
import subprocess
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "build" / "peers"
PACKAGES = {  # peer -> what pip is asked for; the first is the peer itself
    "ray": ["ray", "numpy"],
    "dask": ["distributed"],
    "mpi4py": ["mpi4py"],
    "charm4py": ["charm4py"],
    "dragon": ["dragonhpc"],
    "parsl": ["parsl"],
    "plot": ["matplotlib"],
}
LIMIT_S = 900


class CannotMeasure(SystemExit):
    """Why there are no figures of a peer. Uncaught it ends the benchmark."""


def bin_of(peer):
    return FOLDER / peer / "bin"


def python_of(peer):
    """The interpreter that has `peer` installed; that of this program where nothing needs to be."""
    if peer in PACKAGES:
        install(peer)
        return bin_of(peer) / "python"
    return sys.executable


def install(peer):
    stamp = FOLDER / peer / "complete"
    if stamp.exists():
        return
    packages = PACKAGES[peer]
    print(f"pip install {' '.join(packages)} into build/peers/{peer}", file=sys.stderr)
    pip = [bin_of(peer) / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages]
    for command in ([sys.executable, "-m", "venv", "--clear", FOLDER / peer], pip):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            raise CannotMeasure(f"{packages[0]} was not installed within {LIMIT_S} s") from None
        if done.returncode != 0:
            raise CannotMeasure(f"{packages[0]} cannot be installed: {last_line(done.stdout + done.stderr)}")
    stamp.touch()


def version_of(peer):
    script = f"import importlib.metadata as m; print(m.version({PACKAGES[peer][0]!r}))"
    done = subprocess.run([bin_of(peer) / "python", "-c", script], capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def last_line(text):
    return (text.strip().splitlines() or ["no output"])[-1]


def reason(failure):
    """In one line: what went wrong, and the last that was said."""
    what = str(failure).splitlines()[0].partition(": ")[0]
    last = last_line(str(failure))
    return last if last.startswith(what) else f"{what}: {last}"
