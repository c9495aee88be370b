"""The forkserver: forks this node's workers, reads what they write, reaps them.

One per rank, started before anything touches MPI or UCX: `python -m ray_engine._forkserver FD`, where FD is a
SOCK_SEQPACKET socket to the node engine. It imports what every worker needs and never starts a thread, so that a worker
is there in about two milliseconds. It ends, with all its workers, when the engine closes the socket.

One thread, one poll loop. docs/processes.md says who else there is.
"""

import errno
import gc
import os
import re
import resource
import select
import signal
import socket
import sys
from typing import Any

from ray_engine import _packets

_READ_BYTES = 64 * 1024
_LINE_LIMIT = 64 * 1024  # longer lines are passed on in pieces
_MAX_BACKLOG = 256  # packets that the engine has not taken; beyond it workers wait when they write
_IDLE_MS = 100  # quiet time after the first worker until numpy is imported
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_prctl: Any = None  # set where ctypes has been imported anyway: in main
# Ray's setting: workers adopt what their children leave behind, and it ends with them even if it has left their group.
_ADOPTION = "RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper"

_sets_threads = False  # whether OMP_NUM_THREADS is ours to set
_adopts = False  # whether _ADOPTION is set


class Stream:
    """One output stream of a worker, read from its pipe and passed on in whole lines."""

    def __init__(self, worker, fd, is_stderr):
        self.worker = worker
        self.fd = fd
        self.is_stderr = is_stderr
        self._rest = b""

    def read(self) -> bytes | None:
        """What the worker has written, None at the end of the stream, b"" if there is nothing now."""
        try:
            return os.read(self.fd, _READ_BYTES) or None
        except BlockingIOError:
            return b""

    def lines(self, data: bytes) -> bytes:
        """The whole lines there are now that `data` has come."""
        whole, newline, self._rest = (self._rest + data).rpartition(b"\n")
        if len(self._rest) > _LINE_LIMIT:
            return whole + newline + self.remainder()
        return whole + newline

    def remainder(self) -> bytes:
        rest, self._rest = self._rest, b""
        return rest


class Worker:
    def __init__(self, serial):
        self.serial = serial
        self.pid = 0
        self.streams = []


class Forkserver:
    """Owns the control socket, the workers and their pipes."""

    def __init__(self, control: socket.socket):
        self._control = control
        self._control.setblocking(False)
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._by_pid: dict = {}
        self._by_serial: dict = {}
        self._streams: dict = {}  # fd -> Stream
        self._backlog: list[bytes] = []  # packets to send
        self._reading = True  # whether the streams are polled
        self._ended = False
        self._numpy_due = False
        self._child_ended, self._bell = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._poll.register(self._child_ended, select.POLLIN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)

    def run(self):
        while not self._ended:
            events = self._poll.poll(_IDLE_MS if self._numpy_due else None)
            if not events and self._numpy_due:
                self._numpy_due = False
                _import_numpy()
            for fd, happened in events:
                self._handle(fd, happened)
        self._end_workers()

    def _handle(self, fd, happened):
        if fd == self._control.fileno():
            if happened & select.POLLOUT:
                self._send_backlog()
            if happened & ~select.POLLOUT:
                self._receive()
        elif fd == self._child_ended:
            os.read(fd, _READ_BYTES)
            self._reap()
        elif fd in self._streams:
            self._read(self._streams[fd])

    # ---- the engine -------------------------------------------------------------------------------------------------

    def _receive(self):
        while not self._ended:
            try:
                packet, fds, _, _ = socket.recv_fds(self._control, _packets.MAX_BYTES, 8)
            except BlockingIOError:
                return
            except OSError:
                packet, fds = b"", []
            if not packet:
                self._ended = True
                return
            self._obey(_packets.decode(packet), fds)

    def _obey(self, request, fds):
        for fd in fds:
            os.set_inheritable(fd, False)
        if isinstance(request, _packets.Fork) and fds:
            self._fork(request, fds)
        elif isinstance(request, _packets.Kill):
            worker = self._by_serial.get(request.serial)
            if worker is not None:
                _signal(worker.pid, request.signal)
        elif isinstance(request, _packets.Flush):
            for stream in list(self._streams.values()):
                self._read(stream)
            self._send(_packets.flushed(request.token))
        for fd in fds:
            os.close(fd)

    def _send(self, packet: bytes):
        self._backlog.append(packet)
        if len(self._backlog) == 1:
            self._send_backlog()

    def _send_backlog(self):
        sent = 0
        try:
            for packet in self._backlog:
                self._control.send(packet, socket.MSG_NOSIGNAL)
                sent += 1
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS):
                self._ended = True
        del self._backlog[:sent]
        self._poll.modify(self._control, select.POLLIN | (select.POLLOUT if self._backlog else 0))
        self._read_streams(len(self._backlog) < _MAX_BACKLOG)

    def _read_streams(self, reading):
        if reading == self._reading:
            return
        self._reading = reading
        for fd in self._streams:
            self._poll.modify(fd, select.POLLIN if reading else 0)

    # ---- workers ----------------------------------------------------------------------------------------------------

    def _fork(self, request, fds):
        worker = Worker(request.serial)
        inputs = []
        try:
            for is_stderr in (False, True):
                ours, theirs = os.pipe2(os.O_CLOEXEC)
                inputs.append(theirs)
                os.set_blocking(ours, False)
                worker.streams.append(Stream(worker, ours, is_stderr))
            server = os.getpid()
            worker.pid = os.fork()
        except OSError as error:
            for stream in worker.streams:
                os.close(stream.fd)
            self._send(_packets.forked(request.serial, 0, str(error)))
        else:
            if worker.pid == 0:
                self._become_worker(request, fds[0], inputs, server)
            self._adopt(worker)
        for fd in inputs:
            os.close(fd)

    def _adopt(self, worker):
        _own_group(worker.pid)
        first = not self._by_serial and "numpy" not in sys.modules
        self._by_pid[worker.pid] = self._by_serial[worker.serial] = worker
        for stream in worker.streams:
            self._streams[stream.fd] = stream
            self._poll.register(stream.fd, select.POLLIN if self._reading else 0)
        self._send(_packets.forked(worker.serial, worker.pid))
        self._numpy_due = self._numpy_due or (first and _numpy_is_safe())

    def _become_worker(self, request, fd, outputs, server):
        """Runs in the new process, and never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if _adopts:
                _adopt_orphans()
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps them
            _die_with_parent(server)
            for number, output in enumerate(outputs, start=1):
                os.dup2(output, number)
            self._close_all(keep=fd)
            code = _work(request, fd)
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else leaving.code is not None
        except BaseException:
            _print_exception()
        finally:
            _flush()
            os._exit(code)

    def _close_all(self, keep):
        """Closes the forkserver's descriptors: all but the standard ones and `keep`."""
        self._control.detach()
        end = os.open(os.devnull, os.O_RDONLY)  # the lowest free number: few above it are in use
        os.closerange(3, keep)
        os.closerange(keep + 1, max(keep, end, self._bell, *self._streams) + 16)

    def _read(self, stream):
        data = stream.read()
        if data is None:
            self._pass_on(stream, stream.remainder())
            self._close(stream)
        elif data:
            self._pass_on(stream, stream.lines(data))

    def _pass_on(self, stream, text):
        if text:
            worker = stream.worker
            self._send(_packets.output(worker.serial, worker.pid, stream.is_stderr, text))

    def _close(self, stream):
        self._poll.unregister(stream.fd)
        del self._streams[stream.fd]
        stream.worker.streams.remove(stream)
        os.close(stream.fd)

    def _reap(self):
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            worker = self._by_pid.pop(ended.si_pid, None)
            if worker is not None:
                _signal_group(ended.si_pid, signal.SIGKILL)  # what it has started; its pid is still its own
            _, status = os.waitpid(ended.si_pid, 0)
            if worker is not None:
                self._bury(worker, status)
                if _adopts:
                    self._end_orphans()

    def _end_orphans(self):
        """Kills children that are no workers: with the worker that had adopted them gone, they have come here."""
        for pid in _children():
            if pid not in self._by_pid:
                _signal(pid, signal.SIGKILL)

    def _bury(self, worker, status):
        """Passes on the worker's last words, then its end."""
        del self._by_serial[worker.serial]
        for stream in list(worker.streams):
            for _ in range(64):  # a pipe holds less; somebody else may still write into it
                data = stream.read()
                if not data:
                    break
                self._pass_on(stream, stream.lines(data))
            self._pass_on(stream, stream.remainder())
            self._close(stream)
        self._send(_packets.exited(worker.serial, worker.pid, status))

    def _end_workers(self):
        for pid in self._by_pid:
            _signal_group(pid, signal.SIGKILL)
            _signal(pid, signal.SIGKILL)
        for pid in self._by_pid:
            os.waitpid(pid, 0)
        if _adopts:
            self._end_orphans()


def _signal(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _signal_group(pid, number):
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def _children():
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return []


def _own_group(pid):
    """Makes a process the head of a group, which its children join: so they can be ended with it."""
    try:
        os.setpgid(pid, pid)
    except (ProcessLookupError, PermissionError):
        pass


# ---- in a worker ----------------------------------------------------------------------------------------------------


def _work(request, fd) -> int:
    gc.enable()
    _own_group(0)
    _prefer_as_victim()
    _set_name(request.name)
    os.environ.update(request.node_environment)
    _set_variables(request.environment)
    _open_output()
    from ray_engine import _worker_main

    code = _worker_main.main(
        fd,
        job_config=request.job_config,
        job_id=request.job,
        environment=request.environment,
        units=request.units,
        sets_threads=_sets_threads and "OMP_NUM_THREADS" not in dict(request.environment),
    )
    _run_exit_functions()
    return code or 0


def _set_variables(variables):
    """`${NAME}` in a value stands for what the variable has been so far."""

    def former(found):
        return os.environ.get(found[1], "")

    os.environ.update({name: re.sub(r"\$\{(\w+)\}", former, value) for name, value in variables})


def _open_output():
    """New streams: those of the forkserver remember what their descriptors once were. Lines leave when complete."""
    for number, name, errors in ((1, "stdout", "surrogateescape"), (2, "stderr", "backslashreplace")):
        stream = open(number, "w", buffering=1, encoding="utf-8", errors=errors, closefd=False)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _die_with_parent(parent):
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _adopt_orphans():
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prefer_as_victim():
    """When memory runs out the kernel is to take a worker, not an engine."""
    _write("/proc/self/oom_score_adj", "1000")


def _set_name(name):
    _write("/proc/self/comm", name[:15])


def _write(path, text):
    try:
        with open(path, "w") as file:
            file.write(text)
    except OSError:
        pass  # not allowed everywhere, and only for convenience


def _run_exit_functions():
    import atexit

    atexit._run_exitfuncs()


def _print_exception():
    import traceback

    traceback.print_exc()


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


# ---- start ----------------------------------------------------------------------------------------------------------


def _find_prctl():
    import ctypes

    return ctypes.CDLL(None).prctl


def _import_for_workers():
    global _prctl
    import ray_engine._worker_main  # noqa: F401  (and with it cloudpickle)

    _prctl = _find_prctl()


def _numpy_is_safe():
    """Importing numpy must not start threads: its linear algebra is to use one, as is right for a task with one CPU."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name, "1") != "1":
            return False
    return True


def _import_numpy():
    try:
        import numpy  # noqa: F401
    except ImportError:
        return
    _freeze()


def _freeze():
    """Objects made before a fork are not touched by a worker's garbage collector, so their pages stay shared."""
    gc.collect()
    gc.freeze()


def _prepare():
    global _adopts, _sets_threads
    _adopts = os.environ.get(_ADOPTION, "").lower() in ("1", "true")
    if sys.path[0] in ("", "/"):
        del sys.path[0]  # the folder it was started in
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    _sets_threads = "OMP_NUM_THREADS" not in os.environ
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    gc.disable()


def main():
    _prepare()
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    _import_for_workers()
    if _adopts:
        _adopt_orphans()
    _freeze()
    Forkserver(control).run()


if __name__ == "__main__":
    main()
