"""What an engine could leave behind: processes and files; in a process descriptors, threads and mapped segments.

Processes of a test are known by a mark in their environment, which children inherit, so that other sessions of the same
user on the same machine are neither counted nor touched. Sockets and shared memory of ours have no name that outlives
the processes that hold them, so nothing is left of them when those are gone.
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
KEPT_THREADS = {b"jemalloc_bg_thd"}  # pyarrow's allocator
SEGMENT = re.compile(rb"memfd:ray[-_]engine")


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


def is_marked(pid, mark):
    return f"{MARK_NAME}={mark}".encode() in read(f"/proc/{pid}/environ").split(b"\0")


def own_family():
    """This process and its ancestors, which may carry the mark themselves."""
    family, pid = set(), os.getpid()
    while pid > 1:
        family.add(pid)
        pid = int(read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1] or 0)
    return family


def processes(mark):
    """{pid: command line} of living processes with this mark, without this process and its ancestors."""
    skip, found = own_family(), {}
    for pid in alive_pids():
        if pid not in skip and not is_zombie(pid) and is_marked(pid, mark):
            found[pid] = read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    return found


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
    """The number of threads of this process, without those that other libraries start once and keep."""
    names = [read(f"/proc/self/task/{thread}/comm").strip() for thread in os.listdir("/proc/self/task")]
    return len([name for name in names if name and name not in KEPT_THREADS])


def segments_mapped_here():
    return len(SEGMENT.findall(read("/proc/self/maps")))


class Machine:
    """What of a test exists on this machine: processes with its mark, and files that were not there before."""

    def __init__(self, mark):
        self.mark, self.files = mark, files()

    def leftovers(self):
        found = {"processes": processes(self.mark), "files": files() - self.files}
        return {kind: values for kind, values in found.items() if values}

    def check(self, limit=20):
        """Waits until nothing is left; if something stays, fails and kills it."""
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
