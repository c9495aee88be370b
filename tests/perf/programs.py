"""Running the programs that are measured. Each prints a line `RESULT {...}`, a JSON object, when it has a result."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time

LIMIT_S = 120


def python_of(peer):
    """The interpreter that has `peer` installed."""
    if peer != "ray":
        return sys.executable
    python = os.environ.get("RAY_BENCH_PYTHON", "")
    if not python:
        sys.exit("--against ray: set RAY_BENCH_PYTHON to a python that has ray installed")
    return python


def environment(peer):
    """What a user's shell would have: compiled Python files are kept; ray does not see our packages."""
    ours = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    removed = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH" if peer == "ray" else ""}
    return {**{name: value for name, value in os.environ.items() if name not in removed}, **ours}


def mpirun(ranks, *words):
    return ["mpirun", "--oversubscribe", "-n", str(ranks), *words]


class Program:
    """A started program. As a context manager it waits for the program's end, and fails if that was not in order."""

    def __init__(self, command, peer="ray_engine", limit=LIMIT_S):
        self.command = [str(word) for word in command]
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            self.command, env=environment(peer), stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.timer = threading.Timer(limit, self.process.terminate)
        self.timer.start()

    def result(self):
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line[7:])
        return self.fail("has printed no result")

    def fail(self, what):
        self.process.wait()
        self.errors.seek(0)
        sys.exit(f"{' '.join(self.command)} {what} (exit code {self.process.returncode})\n{self.errors.read()}")

    def __enter__(self):
        return self

    def __exit__(self, exception, *_):
        if exception:
            self.process.terminate()
        self.process.stdout.read()
        self.process.wait()
        self.timer.cancel()
        if not exception and self.process.returncode != 0:
            self.fail("failed")
        self.errors.close()


def bare_mpirun_s(ranks):
    """The whole of an mpirun whose ranks only call MPI_Init and MPI_Finalize."""
    start = time.perf_counter()
    with Program(mpirun(ranks, "bare_mpi")):
        pass
    return time.perf_counter() - start


def result(command, peer="ray_engine", limit=LIMIT_S):
    """Runs a program to its end; its result."""
    with Program(command, peer, limit) as program:
        return program.result()
