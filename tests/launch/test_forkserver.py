"""The forkserver as a real process; the test is its engine. What workers do is sent to them as a program."""

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys

import pytest
from ray_engine import _packets

LIMIT_S = 60

# The forkserver, with workers that run the program they find on their socket.
START = """
import os, sys
from ray_engine import _forkserver, _worker_main

def main(fd, job_config, job_id, environment, units, sets_threads):
    os.set_inheritable(fd, False)
    program = os.read(fd, 1 << 16).decode()
    exec(program, {"fd": fd, "job_config": job_config, "job_id": job_id, "units": units, "sets_threads": sets_threads})

_worker_main.main = main
_forkserver.main()
"""


class Engine:
    """The engine's end of a forkserver's socket."""

    def __init__(self, **environment):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(LIMIT_S)
        self.workers = {}
        with theirs:
            command = [sys.executable, "-c", START, str(theirs.fileno())]
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], env={**os.environ, **environment}, start_new_session=True
            )

    def fork(self, serial, program, environment=(), node_environment=(), job_config=b"", name="worker"):
        ours, theirs = socket.socketpair()
        ours.sendall(program.encode())
        ours.settimeout(LIMIT_S)
        self.workers[serial] = ours

        def text(value):
            return struct.pack("<I", len(value)) + value

        packet = struct.pack("<HI", _packets.FORK, serial) + b"\1\0\0\0" + text(name.encode())
        for pairs in (environment, node_environment):
            packet += struct.pack("<I", len(pairs)) + b"".join(text(part.encode()) for pair in pairs for part in pair)
        packet += struct.pack("<I", 1) + text(b"GPU") + struct.pack("<II", 1, 3) + text(job_config)
        with theirs:
            socket.send_fds(self.socket, [packet], [theirs.fileno()])

    def kill(self, serial, number=signal.SIGKILL):
        self.socket.send(struct.pack("<HIi", _packets.KILL, serial, number))

    def next(self):
        """("forked", serial, pid, error), ("exited", serial, pid, status) or ("output", serial, is_stderr, text)."""
        reader = _packets.Reader(self.socket.recv(_packets.MAX_BYTES))
        kind, serial, pid = reader.number("H"), reader.number("I"), reader.number("I")
        if kind == _packets.FORKED:
            return "forked", serial, pid, reader.text()
        if kind == _packets.EXITED:
            return "exited", serial, pid, reader.number("i")
        assert kind == _packets.OUTPUT
        return "output", serial, reader.number("?"), reader.text()

    def until_exit(self, serial):
        """All that comes before, and the wait status."""
        before = []
        while True:
            said = self.next()
            if said[:2] == ("exited", serial):
                return before, said[3]
            before.append(said)

    def run(self, program, **kwargs):
        """Standard output, standard error and wait status of one worker."""
        self.fork(1, program, **kwargs)
        before, status = self.until_exit(1)
        texts = [said for said in before if said[0] == "output"]
        return *("".join(text for _, _, err, text in texts if err is wanted) for wanted in (False, True)), status

    def close(self):
        self.socket.close()
        return self.process.wait(LIMIT_S)


@pytest.fixture
def engine():
    engine = Engine()
    yield engine
    if engine.socket.fileno() >= 0:
        assert engine.close() == 0


def is_gone(pid):
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], LIMIT_S)[0])
    finally:
        os.close(descriptor)


def test_a_worker_is_forked_and_reaped(engine):
    engine.fork(5, "import os; os._exit(7)")
    kind, serial, pid, error = engine.next()
    assert (kind, serial, error) == ("forked", 5, "") and pid > 0
    assert engine.next() == ("exited", 5, pid, 7 << 8)


def test_normal_end_and_uncaught_exception(engine):
    assert engine.run("x = 1") == ("", "", 0)
    out, err, status = engine.run("1 / 0")
    assert "ZeroDivisionError" in err and status == 1 << 8
    assert engine.run("raise SystemExit(3)") == ("", "", 3 << 8)


def test_output_comes_in_whole_lines_before_the_end(engine):
    program = "import os\nfor i in range(2000): print(i)\nprint('no end', end='')\n"
    engine.fork(1, program)
    before, status = engine.until_exit(1)
    texts = [said[3] for said in before if said[0] == "output"]
    assert status == 0
    assert all(text.endswith("\n") for text in texts[:-1])
    assert "".join(texts) == "".join(f"{i}\n" for i in range(2000)) + "no end"


def test_fast_output_is_cut_only_at_ends_of_lines(engine):
    engine.fork(1, "print(('x' * 999 + '\\n') * 2000, end='')")
    before, status = engine.until_exit(1)
    texts = [said[3] for said in before if said[0] == "output"]
    assert status == 0
    assert len("".join(texts)) == 2_000_000 and all(text.endswith("\n") for text in texts)


def test_a_killed_workers_last_words_arrive(engine):
    out, _, status = engine.run("import os\nprint('last', end='', flush=True)\nos.kill(os.getpid(), 9)")
    assert (out, status) == ("last", 9)


def test_very_long_lines_are_passed_on_in_pieces(engine):
    out, _, status = engine.run("print('x' * 1_000_000)")
    assert out == "x" * 1_000_000 + "\n" and status == 0


def test_standard_error_is_told_apart_and_c_output_is_seen(engine):
    out, err, _ = engine.run("import os, sys\nos.system('echo from a child')\nprint('oops', file=sys.stderr)")
    assert (out, err) == ("from a child\n", "oops\n")


def test_a_slow_engine_holds_writers_up_but_loses_nothing(engine):
    program = "for i in range(200000): print(i, 'x' * 50)\n"
    engine.fork(1, program)
    engine.fork(2, "import os; os.read(fd, 1)")  # still served while worker 1 writes
    engine.workers[2].sendall(b"go")
    before, status = engine.until_exit(1)
    out = "".join(said[3] for said in before if said[:2] == ("output", 1))
    assert out == "".join(f"{i} {'x' * 50}\n" for i in range(200000)) and status == 0


def test_many_workers(engine):
    for serial in range(1, 31):
        engine.fork(serial, "import os; print(os.getpid()); os.read(fd, 1)")
    pids, printed = {}, {}
    while len(printed) < 30:
        said = engine.next()
        (pids if said[0] == "forked" else printed)[said[1]] = said[2 if said[0] == "forked" else 3]
    assert {serial: int(text) for serial, text in printed.items()} == pids
    for serial in range(1, 31):
        engine.kill(serial)
    ended = {engine.next()[:2] for _ in range(30)}
    assert ended == {("exited", serial) for serial in range(1, 31)}


def test_signals_reach_the_worker(engine):
    engine.fork(1, "import os\ntry:\n  print('ready'); os.read(fd, 1)\nexcept KeyboardInterrupt:\n  os._exit(4)")
    engine.next()
    assert engine.next() == ("output", 1, False, "ready\n")
    engine.kill(1, signal.SIGINT)
    assert engine.until_exit(1)[1] == 4 << 8
    engine.kill(1)  # of one that is gone: nothing happens
    assert engine.run("pass") == ("", "", 0)


def test_what_a_worker_has_started_ends_with_it(engine):
    engine.fork(1, "import os, subprocess\nprint(subprocess.Popen(['sleep', '1000']).pid); os.read(fd, 1)")
    engine.next()
    child = int(engine.next()[3])
    engine.kill(1)
    assert engine.until_exit(1)[1] == signal.SIGKILL
    assert is_gone(child)


def test_environment_and_standard_input(engine):
    program = "import os, sys\nprint(os.environ['GREETING'], repr(sys.stdin.read()), job_id, job_config)"
    out, err, _ = engine.run(program, environment=[("GREETING", "hello")], job_config=b"config")
    assert out == "hello '' b'\\x01\\x00\\x00\\x00' b'config'\n", err


def test_the_node_says_what_is_visible_and_the_task_has_the_last_word(engine):
    program = "import os\nprint(os.environ['A'], os.environ['B'], units)"
    out, err, _ = engine.run(program, environment=[("B", "task")], node_environment=[("A", "node"), ("B", "node")])
    assert out == "node task {'GPU': [3]}\n", err


@pytest.mark.parametrize(
    ("node", "task", "ours"), [(None, [], True), ("4", [], False), (None, [("OMP_NUM_THREADS", "2")], False)]
)
def test_the_number_of_threads_is_ours_to_set_unless_somebody_has_chosen(monkeypatch, node, task, ours):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    engine = Engine(**({} if node is None else {"OMP_NUM_THREADS": node}))
    try:
        out, err, _ = engine.run("print(sets_threads)", environment=task)
    finally:
        engine.close()
    assert out == f"{ours}\n", err


def test_a_worker_has_no_descriptor_of_the_forkserver_or_of_other_workers(engine):
    for serial in (2, 3):
        engine.fork(serial, "import os; os.read(fd, 1)")
    out, _, _ = engine.run("import os\nprint(sorted(int(n) for n in os.listdir('/proc/self/fd')), fd)")
    numbers, own = out.rsplit(" ", 1)
    others = set(json.loads(numbers)) - {0, 1, 2, int(own)}
    assert len(others) == 1  # that of the listing itself


def test_a_worker_is_a_victim_and_has_many_descriptors_and_its_own_random_numbers(engine):
    program = """
import random, resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
print(open('/proc/self/oom_score_adj').read().strip(), soft == hard, random.random())
"""
    first, second = (engine.run(program)[0].split() for _ in range(2))
    assert first[:2] == second[:2] == ["1000", "True"]
    assert first[2] != second[2]


def test_exit_functions_run(engine):
    out, _, status = engine.run("import atexit\natexit.register(print, 'bye')")
    assert (out, status) == ("bye\n", 0)


def test_numpy_is_imported_once_the_first_worker_is_there(engine):
    pytest.importorskip("numpy")
    engine.fork(1, "import sys; print('numpy' in sys.modules)")
    assert engine.until_exit(1)[0][-1][3] == "False\n"
    for serial in range(2, 2000):
        engine.fork(serial, "import sys; print('numpy' in sys.modules)")
        if engine.until_exit(serial)[0][-1][3] == "True\n":
            break
        select.select([engine.socket], [], [], 0.2)  # leaves it idle
    else:
        raise AssertionError("numpy was never imported")
    program = "import numpy, threading, os; print(numpy.random.random(), len(os.listdir('/proc/self/task')))"
    numbers = [engine.run(program)[0].split() for _ in range(2)]
    assert numbers[0][1] == "1"


def test_ends_with_all_workers_when_the_engine_goes():
    engine = Engine()
    pids = []
    for serial in (1, 2, 3):
        engine.fork(serial, "import os; print('there'); os.read(fd, 1)")
        pids.append(engine.next()[2])
        assert engine.next()[3] == "there\n"
    assert engine.close() == 0
    assert all(is_gone(pid) for pid in pids)


def test_workers_die_with_a_killed_forkserver():
    engine = Engine()
    engine.fork(1, "import os; print('there'); os.read(fd, 1)")
    pid = engine.next()[2]
    engine.next()
    engine.process.kill()
    assert is_gone(pid)
    assert engine.close() == -signal.SIGKILL
