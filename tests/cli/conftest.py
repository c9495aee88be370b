"""Running the real command line: ray-engine alone and under mpirun, in a folder of its own, checked for leftovers."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.python import leaks  # noqa: E402
from tests.python.waiting import wait_for  # noqa: E402

LIMIT_S = 120


class Job:
    """A started command whose output is collected, with all the processes that belong to it."""

    def __init__(self, command, folder, env, mark, stdin=subprocess.DEVNULL):
        self.mark = mark
        self.out, self.err = folder / "stdout", folder / "stderr"
        with open(self.out, "w") as out, open(self.err, "w") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=stdin, stdout=out, stderr=err, text=True, start_new_session=True
            )

    @property
    def stdout(self):
        return self.out.read_text(errors="replace")

    @property
    def stderr(self):
        return self.err.read_text(errors="replace")

    @property
    def output(self):
        return self.stdout + self.stderr

    def wait(self, limit=LIMIT_S):
        """The exit code. A job that does not end is killed, and fails the test."""
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            leaks.kill_all([self.process.pid, *leaks.processes(self.mark)])
            self.process.wait()
            raise AssertionError(f"did not end within {limit} s\n{self.output}") from None

    def wait_for_output(self, text, limit=LIMIT_S):
        """Waits until the job has written `text`; returns its standard output."""

        def written():
            assert self.process.poll() is None or text in self.stdout, f"ended without {text!r}\n{self.output}"
            return text in self.stdout

        wait_for(written, f"the output {text!r}", limit)
        return self.stdout

    def processes(self, pattern):
        """Pids of this job whose command line contains `pattern`."""
        return [pid for pid, command in leaks.processes(self.mark).items() if pattern in command]

    def signal(self, number):
        self.process.send_signal(number)


@pytest.fixture(scope="session")
def launcher():
    path = shutil.which("ray-engine")
    if path is None:
        pytest.skip("ray-engine is not on PATH: run the tests by ./dev test")
    return path


@pytest.fixture
def begin(launcher, tmp_path):
    """begin(*words, ranks=None, ...): starts `[prefix] [mpirun -n ranks] ray-engine words`. Nothing stays."""
    mark = leaks.new_mark()
    machine = leaks.Machine(mark)
    jobs = []

    def start(*words, ranks=None, env=None, stdin=subprocess.DEVNULL, prefix=()):
        folder = tmp_path / f"job{len(jobs)}"
        folder.mkdir()
        jobs.append(Job([*prefix, *command(launcher, words, ranks)], folder, environment(env), mark, stdin))
        return jobs[-1]

    yield start
    for job in jobs:
        if job.process.poll() is None:
            job.signal(signal.SIGTERM)
            job.wait()
    machine.check()


@pytest.fixture
def run(begin):
    """run(*words, ...) is begin(), waited for; the finished job has .code."""

    def run(*words, limit=LIMIT_S, **kwargs):
        job = begin(*words, **kwargs)
        job.code = job.wait(limit)
        return job

    return run


@pytest.fixture
def script(tmp_path):
    """script(text) writes a program and returns its path."""
    count = iter(range(100))

    def write(text, name=None):
        path = tmp_path / (name or f"program{next(count)}.py")
        path.write_text(text)
        return str(path)

    return write


def command(launcher, words, ranks):
    words = [str(word) for word in words]
    if ranks is None:
        return [launcher, *words]
    return ["mpirun", "--oversubscribe", "-n", str(ranks), launcher, *words]


def environment(extra):
    root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return {**os.environ, **root, **(extra or {})}
