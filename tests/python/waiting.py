"""Waiting for conditions, in tests and inside the tasks they start. No test sleeps for a fixed time and hopes."""

import os
import time
from pathlib import Path

LIMIT_S = 60  # generous: a limit is for what will never happen


def wait_for(condition, what="the condition", limit=LIMIT_S, interval=0.01):
    """Calls `condition` until it gives something true, and returns that; AssertionError after `limit` seconds."""
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {limit} s")
        time.sleep(interval)


def is_gone(pid):
    """Whether there is no such process."""
    return not os.path.exists(f"/proc/{pid}")


class Gate:
    """A door that tests open for tasks, and a list of who has come to it. Kept as files: works from every process."""

    def __init__(self, folder, name="gate"):
        self.folder = Path(folder) / name
        self.folder.mkdir(exist_ok=True)

    def arrive(self, who="somebody"):
        (self.folder / f"{who}.here").write_text(str(os.getpid()))

    def arrived(self, who="somebody"):
        return (self.folder / f"{who}.here").exists()

    def visitors(self):
        return sorted(path.stem for path in self.folder.glob("*.here"))

    def wait_for_arrival(self, who="somebody", limit=LIMIT_S):
        wait_for(lambda: self.arrived(who), f"the arrival of {who}", limit)

    def open(self):
        (self.folder / "open").touch()

    def pass_through(self, who="somebody", limit=LIMIT_S):
        """Arrives, and waits until the gate is open."""
        self.arrive(who)
        wait_for((self.folder / "open").exists, "the opening of the gate", limit)


def overlap(intervals):
    """True if at some moment all (begin, end) intervals were under way."""
    return max(begin for begin, _ in intervals) < min(end for _, end in intervals)
