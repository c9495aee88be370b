"""Running the programs that are measured. Each prints a line `RESULT {...}`, a JSON object, when it has a result."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

import peers  # noqa: E402

from tests.python import leaks  # noqa: E402

LIMIT_S = 120
GRACE_S = 20  # for what a program has started to end by itself


class Failure(SystemExit):
    """A program has not ended in order: its command, exit code and output. Uncaught it ends the benchmark."""


def environment(peer):
    """What a user's shell would have: compiled Python files are kept, the peer's programs are on the path. Only our own
    programs see our packages; the peers' workers find the modules here."""
    ours = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    if peer in peers.PACKAGES:
        ours["PATH"] = f"{peers.bin_of(peer)}:{os.environ['PATH']}"
    if peer != "ray_engine":
        ours["PYTHONPATH"] = str(HERE)
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}, **ours}


def mpirun(ranks, *words):
    return ["mpirun", "--oversubscribe", "-n", str(ranks), *words]


class Program:
    """A started program. As a context manager it waits for the end of the program and of all that it has started; it
    raises if that was not in order. After `limit` seconds all of it is killed."""

    def __init__(self, command, peer="ray_engine", limit=LIMIT_S):
        self.command, self.peer, self.limit = [str(word) for word in command], peer, limit
        self.mark = uuid.uuid4().hex
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.folder = tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)
        marked = {**environment(peer), leaks.MARK_NAME: self.mark}
        if peer != "ray_engine":  # what others leave in it goes with it
            marked["TMPDIR"] = marked["RAY_TMPDIR"] = self.folder.name
        self.process = subprocess.Popen(
            self.command, env=marked, stdout=subprocess.PIPE, stderr=self.errors, stdin=subprocess.DEVNULL, text=True
        )
        self.is_late = False
        self.timer = threading.Timer(limit, self.stop_late)
        self.timer.start()

    def result(self):
        lines = []
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line[7:])
            lines.append(line)
        return self.fail("has printed no result", "".join(lines))

    def fail(self, what, output=""):
        self.process.wait()
        self.errors.seek(0)
        late = f" within {self.limit} s" if self.is_late else ""
        code = self.process.returncode
        raise Failure(f"{what}{late} (exit code {code}): {' '.join(self.command)}\n{output}{self.errors.read()}")

    def stop_late(self):
        self.is_late = True
        self.stop()

    def stop(self):
        """First the program alone, so that it may end in order what it has started."""
        self.process.terminate()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        leaks.kill_all(self.left_behind())

    def processes(self):
        """{pid: command line} of the program and all that it has started."""
        return leaks.processes(self.mark)

    def left_behind(self):
        """What it has started and what does not end by itself."""
        end = time.monotonic() + GRACE_S
        while (left := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        return left

    def __enter__(self):
        return self

    def __exit__(self, exception, *_):
        try:
            if exception:
                self.stop()
            self.process.stdout.read()
            self.process.wait()
            if not exception:
                self.check_end()
        finally:
            self.timer.cancel()
            self.process.stdout.close()
            self.errors.close()
            self.folder.cleanup()

    def check_end(self):
        left = self.left_behind()
        leaks.kill_all(left)
        if left and self.peer == "ray_engine":
            self.fail(f"left behind {left}")
        if self.process.returncode != 0:
            self.fail("failed")


def run(command, peer="ray_engine", limit=LIMIT_S):
    """To its end."""
    with Program(command, peer, limit):
        pass


def bare_mpirun_s(ranks):
    """The whole of an mpirun whose ranks only call MPI_Init and MPI_Finalize."""
    start = time.perf_counter()
    with Program(mpirun(ranks, "bare_mpi")) as program:
        program.process.wait()
        return time.perf_counter() - start


def result(command, peer="ray_engine", limit=LIMIT_S):
    """Runs a program to its end; its result."""
    with Program(command, peer, limit) as program:
        return program.result()
