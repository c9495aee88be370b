"""ray-engine as a process, by the sockets and signals that its starters use. The programs it runs need no engine."""

import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from ray_engine import _packets

LIMIT_S = 60

pytestmark = pytest.mark.skipif(shutil.which("ray-engine") is None, reason="ray-engine is not on PATH: use ./dev test")

# Counts SIGINTs; ends with their number when it is told to.
COUNTER = """
import os, signal, sys

count = 0

def on_signal(*_):
    global count
    count += 1
    os.write(1, b"GOT\\n")  # it may interrupt a print()

signal.signal(signal.SIGINT, on_signal)
signal.signal(signal.SIGUSR1, on_signal)
print("READY", flush=True)
assert sys.stdin.readline() == "end\\n"
sys.exit(count)
"""


def launcher(*words, **kwargs):
    return subprocess.Popen(["ray-engine", "--num-cpus=1", "--object-store-memory=8M", *words], text=True, **kwargs)


def children(pid):
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True).stdout
    return [int(word) for word in listing.split()]


def wait_until_gone(pids):
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        assert select.select([descriptor], [], [], LIMIT_S)[0], f"process {pid} is still there"
        os.close(descriptor)


@pytest.fixture
def counter(tmp_path):
    path = tmp_path / "counter.py"
    path.write_text(COUNTER)
    return str(path)


# ---- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_signal_reaches_the_driver_once(counter, number):
    job = launcher(counter, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert job.stdout.readline() == "READY\n"
    job.send_signal(number)
    assert job.stdout.readline() == "GOT\n"
    assert job.communicate("end\n", timeout=LIMIT_S)[0] == ""
    assert job.returncode == 1


def test_control_c_in_a_terminal_reaches_the_driver_once(counter):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp("ray-engine", ["ray-engine", "--num-cpus=1", "--object-store-memory=8M", counter])
    output = b""

    def read_until(text):
        nonlocal output
        while text not in output:
            assert select.select([terminal], [], [], LIMIT_S)[0], output
            output += os.read(terminal, 4096)

    read_until(b"READY")
    os.write(terminal, b"\x03")
    read_until(b"GOT")
    os.write(terminal, b"end\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 1, output
    assert output.count(b"GOT") == 1


def test_a_driver_that_ignores_signals_is_killed_in_time(tmp_path):
    program = tmp_path / "deaf.py"
    program.write_text(
        "import signal, time\nfor n in (2, 15): signal.signal(n, signal.SIG_IGN)\nprint('READY', flush=True)\n"
        "while True: time.sleep(1000)\n"
    )
    job = launcher(str(program), stdout=subprocess.PIPE)
    assert job.stdout.readline() == "READY\n"
    job.terminate()
    job.communicate(timeout=LIMIT_S)
    assert job.returncode == 128 + signal.SIGKILL


# ---- ends -----------------------------------------------------------------------------------------------------------


def test_exit_file_and_code(tmp_path):
    exit_file = tmp_path / "code"
    exit_file.write_text("99\n")
    program = tmp_path / "seven.py"
    program.write_text(f"import os, sys\nassert not os.path.exists({str(exit_file)!r})\nsys.exit(7)\n")
    job = launcher("--exit-file", str(exit_file), str(program))
    assert job.wait(LIMIT_S) == 7
    assert exit_file.read_text() == "7\n"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("code")] == ["code"]


def test_an_exit_file_that_cannot_be_written(tmp_path):
    program = tmp_path / "ok.py"
    program.write_text("print('ran')\n")
    job = launcher(
        "--exit-file", str(tmp_path / "no" / "code"), str(program), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = job.communicate(timeout=LIMIT_S)
    assert (job.returncode, out) == (2, "") and "--exit-file" in err


def test_orphans_of_the_driver_end_with_the_job(tmp_path):
    program = tmp_path / "orphan.py"
    program.write_text("import subprocess\nprint(subprocess.Popen(['sleep', '1000'], start_new_session=True).pid)\n")
    job = launcher(str(program), stdout=subprocess.PIPE)
    out, _ = job.communicate(timeout=LIMIT_S)
    assert job.returncode == 0
    wait_until_gone([int(out)])


@pytest.mark.parametrize("victim", ["ray-engine", "ray-engine-node", "_forkserver"])
def test_a_killed_process_takes_the_others_with_it(counter, victim):
    job = launcher(counter, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert job.stdout.readline() == "READY\n"
    family = [job.pid, *children(job.pid)]
    assert len(family) == 4  # supervisor, forkserver, engine, driver
    commands = {pid: open(f"/proc/{pid}/cmdline").read().split("\0") for pid in family}
    (pid,) = (
        [pid for pid in family if pid == job.pid]
        if victim == "ray-engine"
        else [pid for pid in family if any(word.endswith(victim) for word in commands[pid][:3])]
    )
    os.kill(pid, signal.SIGKILL)
    code = job.wait(LIMIT_S)  # its input stays open: the driver would end by itself
    assert code == (-signal.SIGKILL if victim == "ray-engine" else 70)
    assert victim == "ray-engine" or "SIGKILL" in job.stderr.read()
    wait_until_gone(family)


def test_an_engine_that_cannot_start(tmp_path, counter):
    """Two sessions cannot have one name."""
    first = launcher("--session-name=twice", counter, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout.readline() == "READY\n"
    second = launcher("--session-name=twice", counter, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    _, err = second.communicate(timeout=LIMIT_S)
    assert second.returncode == 72 and "twice" in err
    first.communicate("end\n", timeout=LIMIT_S)
    assert first.returncode == 0


# ---- started by programs --------------------------------------------------------------------------------------------


class Started:
    """ray-engine as ray.init() and Cluster start it: with one end of a socket pair."""

    def __init__(self, *words, fd_option):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(LIMIT_S)
        with theirs:
            option = f"--{fd_option}={theirs.fileno()}"
            self.process = launcher(*words, option, pass_fds=[theirs.fileno()], start_new_session=True)

    def family(self):
        return [self.process.pid, *children(self.process.pid)]

    def end(self):
        family = self.family()
        self.socket.close()
        code = self.process.wait(LIMIT_S)
        wait_until_gone(family)
        return code


def test_solo_welcomes_its_driver_and_ends_with_it():
    solo = Started("--solo", fd_option="driver-fd")
    packet, fds, _, _ = socket.recv_fds(solo.socket, 1 << 16, 8)
    assert _packets.Reader(packet).number("H") == _packets.WELCOME
    assert len(fds) == 3
    for fd in fds:
        os.close(fd)
    assert len(solo.family()) == 3  # supervisor, forkserver, engine
    assert solo.end() == 0


def test_solo_ends_with_a_killed_driver():
    program = """
import os, signal, socket, subprocess, sys
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
command = ["ray-engine", "--object-store-memory=8M", "--solo", f"--driver-fd={theirs.fileno()}"]
process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
theirs.close()
ours.recv(1 << 16)
print(process.pid, flush=True)
sys.stdin.read()
"""
    driver = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    supervisor = int(driver.stdout.readline())
    family = [supervisor, *children(supervisor)]
    driver.kill()
    driver.communicate()
    wait_until_gone(family)


def test_nodes_tell_when_they_are_up_and_leave_with_their_starter():
    head = Started("start", fd_option="ready-fd")
    address, node = head.socket.recv(4096).decode().split()
    assert re.fullmatch(r"ray-engine/\d+/[\w.-]+/0", address) and re.fullmatch(r"[0-9a-f]{56}", node)
    assert address in subprocess.run(["ray-engine", "sessions"], capture_output=True, text=True).stdout
    second = Started("node", f"--join={address}", fd_option="ready-fd")
    its_address, its_node = second.socket.recv(4096).decode().split()
    assert its_address.startswith(address.rpartition("/")[0]) and its_node != node
    assert second.end() == 0
    assert head.end() == 0
    assert address not in subprocess.run(["ray-engine", "sessions"], capture_output=True, text=True).stdout


def test_a_node_that_finds_no_session():
    job = launcher("node", f"--join=ray-engine/{os.getuid()}/nobody/0", stderr=subprocess.PIPE)
    _, err = job.communicate(timeout=LIMIT_S)
    assert job.returncode == 72 and "nobody" in err


# ---- what children see ----------------------------------------------------------------------------------------------


def test_environment_of_the_driver(tmp_path):
    program = tmp_path / "environment.py"
    program.write_text("import json, os, sys\nprint(json.dumps([dict(os.environ), sys.argv]))\n")
    strange = {"PMIX_NAMESPACE": "7", "PMI_FD": "5", "OMPI_MCA_x": "1", "RAY_ENGINE_DRIVER_FD": "99"}
    job = launcher(str(program), "--a", "b c", stdout=subprocess.PIPE, env={**os.environ, **strange})
    environment, argv = json.loads(job.communicate(timeout=LIMIT_S)[0])
    assert argv == [str(program), "--a", "b c"]
    assert not [name for name in environment if name.startswith(("OMPI_", "PMIX_", "PMI_"))]
    assert environment["RAY_ENGINE_DRIVER_FD"] != "99"
    assert re.fullmatch(r"ray-engine/\d+/[\w.-]+/0", environment["RAY_ENGINE_ADDRESS"])
    assert environment["PYTHONPATH"].split(":")[0].endswith("_alias")
    assert environment["PATH"].split(":")[0].endswith("_alias_programs")
