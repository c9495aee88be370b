"""What an engine could leave behind: processes, abstract sockets, shared memory, files; in a process fds and threads.

Processes of a test are known by a mark in their environment, which children inherit; processes that rewrote their
environment are known by our memfd segments in their maps, or by their program.
"""

import collections
import os
import re
import tempfile
import threading
import uuid
from pathlib import Path

from tests.python.waiting import wait_for

MARK_NAME = "RAY_ENGINE_TEST_MARK"
SEGMENT = re.compile(rb"memfd:ray[-_]engine")
PROGRAMS = re.compile(rb"(^|/)ray-engine(-node)?\0|ray_engine\._forkserver|^ray::")
SOCKET = re.compile(r"@(ray-engine/\S+)")


def new_mark():
    """Marks this process's children to come; returns the mark."""
    os.environ[MARK_NAME] = uuid.uuid4().hex
    return os.environ[MARK_NAME]


def read(path):
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def alive_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def is_zombie(pid):
    return read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:1] == [b"Z"]


def is_ours(pid, mark):
    if mark and f"{MARK_NAME}={mark}".encode() in read(f"/proc/{pid}/environ"):
        return True
    return bool(PROGRAMS.search(read(f"/proc/{pid}/cmdline")) or SEGMENT.search(read(f"/proc/{pid}/maps")))


def own_family():
    """This process, its threads' children apart: it and its ancestors, which may carry the mark themselves."""
    family, pid = set(), os.getpid()
    while pid > 1:
        family.add(pid)
        pid = int(read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1] or 0)
    return family


def processes(mark=None, besides=()):
    """{pid: command line} of living processes of ours, without this one, its ancestors and `besides`."""
    skip = own_family() | set(besides)
    found = {}
    for pid in alive_pids():
        if pid not in skip and not is_zombie(pid) and is_ours(pid, mark):
            found[pid] = read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def sockets():
    """Names of abstract sockets of ours."""
    return set(SOCKET.findall(Path("/proc/net/unix").read_text()))


def files():
    """Files and folders of ours in places where programs leave them."""
    places = {Path(tempfile.gettempdir()), Path("/dev/shm"), Path("/tmp")}
    return {str(path) for place in places if place.is_dir() for path in place.glob("*ray[-_]engine*") if path.exists()}


def open_fds():
    """Counts of this process's descriptors by kind."""
    kinds = collections.Counter()
    for name in os.listdir("/proc/self/fd"):
        try:
            kinds[re.sub(r"\d+", "N", os.readlink(f"/proc/self/fd/{name}"))] += 1
        except OSError:
            continue
    return kinds


def threads():
    return len(os.listdir("/proc/self/task"))


def segments_mapped_here():
    return len(SEGMENT.findall(read("/proc/self/maps")))


class Machine:
    """What of ours exists on this machine before something is run; after it, nothing more may exist."""

    def __init__(self, mark):
        self.mark = mark
        self.before = {"processes": set(processes(mark)), "sockets": sockets(), "files": files()}

    def leftovers(self):
        found = {
            "processes": processes(self.mark, self.before["processes"]),
            "sockets": sockets() - self.before["sockets"],
            "files": files() - self.before["files"],
        }
        return {kind: values for kind, values in found.items() if values}

    def check(self, limit=20):
        """Waits until nothing is left; fails, and kills what is left, if something stays."""
        try:
            wait_for(lambda: not self.leftovers(), "the end of all processes", limit, interval=0.05)
        except AssertionError:
            left = self.leftovers()
            kill_all(left.get("processes", {}))
            raise AssertionError(f"left behind: {left}") from None


class Process:
    """Descriptors, threads and mapped segments of this process."""

    def __init__(self):
        self.fds, self.threads, self.segments = open_fds(), threads(), segments_mapped_here()

    def growth(self):
        found = {
            "fds": dict(open_fds() - self.fds),
            "threads": max(0, threads() - self.threads),
            "segments": max(0, segments_mapped_here() - self.segments),
        }
        return {kind: value for kind, value in found.items() if value}

    def check(self, limit=20):
        try:
            wait_for(lambda: not self.growth(), "the release of descriptors and threads", limit, interval=0.05)
        except AssertionError:
            names = [thread.name for thread in threading.enumerate()]
            raise AssertionError(f"leaked in this process: {self.growth()}; Python threads: {names}") from None


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
