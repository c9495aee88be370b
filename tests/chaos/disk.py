"""A small disk to which one node spills, and which fills up: a file system of its own, in memory."""

import os
import subprocess
import sys
import tempfile
import time


class SmallDisk:
    """Until it is left: `args` are those of add_node() for the node that spills here.

    Where no file system may be mounted, the node has a limit instead, and fill() does nothing.
    """

    def __init__(self, size):
        self.size = size

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="chaos-disk-")
        mount = ["mount", "-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", self.folder.name]
        self.mounted = subprocess.run(mount, capture_output=True).returncode == 0
        self.filler = os.path.join(self.folder.name, "filler")
        self.args = {"spill_directory": self.folder.name}
        if not self.mounted:
            print("chaos: no file system can be mounted; the small disk is a limit", file=sys.stderr)
            self.args["spill_limit"] = self.size
        return self

    def __exit__(self, *_):
        if self.mounted:
            subprocess.run(["umount", self.folder.name], check=True)
        self.folder.cleanup()

    def fill(self):
        """Takes all space that is left, beside what is spilled."""
        if not self.mounted:
            return False
        space = os.statvfs(self.folder.name)
        spilled = (space.f_blocks - space.f_bfree) * space.f_bsize
        print(
            f"{time.strftime('%T')} fills a disk to which {spilled >> 20} MiB are spilled", file=sys.stderr, flush=True
        )
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
            except OSError:  # no space left
                return True

    def clear(self):
        """Gives the space back."""
        if os.path.exists(self.filler):
            os.unlink(self.filler)
