"""Disks and memory that are not what the object store needs; and readers that outlive the driver they read for."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray_engine as ray
from ray_engine import _core

from tests.python.waiting import wait_for

MIB = 1 << 20
STORE = 64 * MIB


def content(seed, size):
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def store():
    (row,) = _core.store_rows()
    return row


def mount(*arguments):
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a file system here: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path):
    """A file system of 100 MiB of its own; disk.mount("remount,ro") changes it."""

    class Disk:
        path = tmp_path / "disk"

        def mount(self, options):
            mount("-t", "tmpfs", "-o", options, "tmpfs", str(self.path))

    Disk.path.mkdir()
    made = Disk()
    made.mount("size=100m")
    yield made
    ray.shutdown()
    subprocess.run(["umount", str(Disk.path)], check=True)


# ---- the disk --------------------------------------------------------------------------------------------------------


def test_a_disk_that_becomes_full(start, disk):
    """The error names the folder. What is on it can still be read, and its space is used again."""
    start(num_cpus=1, object_store_memory=STORE, object_spilling_directory=str(disk.path))
    refs = []
    with pytest.raises(ray.exceptions.OutOfDiskError, match=re.escape(str(disk.path))):
        for i in range(40):
            refs.append(ray.put(content(i, 5 * MIB)))
    assert 0 < store()["on_disk"] < 100 * MIB and len(refs) < 33
    del refs[-3:]  # of those in memory: now the others have room to come back
    for i, ref in enumerate(refs):
        assert np.array_equal(ray.get(ref), content(i, 5 * MIB)), i
    del refs
    wait_for(lambda: store()["on_disk"] == 0, "the space to be free")
    again = [ray.put(content(i, 5 * MIB)) for i in range(16)]
    assert np.array_equal(ray.get(again[0]), content(0, 5 * MIB))


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_disk_that_cannot_be_used_from_the_start(start, disk, capfd, how):
    if how == "full":
        (disk.path / "file").write_bytes(bytes(100 * MIB))
    else:
        disk.mount("remount,ro")
    with pytest.raises(ConnectionError):
        start(num_cpus=1, object_spilling_directory=str(disk.path))
    reason = "no space left" if how == "full" else "Read-only file system"
    assert re.search(rf"cannot spill to {re.escape(str(disk.path))}: .*{reason}", capfd.readouterr().err)
    disk.mount("remount,rw")


def test_a_disk_that_becomes_read_only(start, disk):
    start(num_cpus=1, object_store_memory=STORE, object_spilling_directory=str(disk.path))
    disk.mount("remount,ro")
    kept = [ray.put(content(i, 20 * MIB)) for i in range(3)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match=rf"{re.escape(str(disk.path))}.*Read-only"):
        ray.put(content(3, 20 * MIB))
    disk.mount("remount,rw")
    kept.append(ray.put(content(3, 20 * MIB)))
    for i, ref in enumerate(kept):
        assert np.array_equal(ray.get(ref), content(i, 20 * MIB))


def test_a_file_that_is_cut_short(start, tmp_path):
    """Values that were put are lost; results of tasks are made again. None is wrong."""
    start(num_cpus=1, object_store_memory=STORE, object_spilling_directory=str(tmp_path))
    (engine,) = [p for p in psutil.Process().children(recursive=True) if "ray-engine-node" in p.name()]

    @ray.remote
    def make(seed):
        return content(seed, 5 * MIB)

    put = [ray.put(content(i, 5 * MIB)) for i in range(10)]
    made = [make.remote(i) for i in range(30)]
    ray.wait(made, num_returns=30, fetch_local=False)
    wait_for(lambda: store()["on_disk"] > 100 * MIB, "values on disk")
    (file,) = [fd for fd in Path(f"/proc/{engine.pid}/fd").iterdir() if "spill" in os.readlink(fd)]
    os.truncate(file, 100_000)
    lost = 0
    for i, ref in enumerate(put):
        try:
            assert np.array_equal(ray.get(ref), content(i, 5 * MIB)), i
        except ray.exceptions.ObjectLostError as error:
            assert "not what was written" in str(error)
            lost += 1
    assert lost > 0
    for i, ref in enumerate(made):
        assert np.array_equal(ray.get(ref, timeout=60), content(i, 5 * MIB)), i


# ---- the memory ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_memory():
    """small_memory(code) runs a driver in a memory cgroup of 512 MiB, and returns what subprocess.run does."""
    cgroups = Path("/sys/fs/cgroup")
    for root, limit in ((cgroups / "memory", "memory.limit_in_bytes"), (cgroups, "memory.max")):
        group = root / f"ray-engine-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(512 * MIB))
            break
        except OSError:
            group.rmdir()
    else:
        pytest.skip("no memory cgroup can be made here")
    procs = group / "cgroup.procs"

    def run(code):
        enter = f"open({str(procs)!r}, 'w').write('0')\n"
        return subprocess.run([sys.executable, "-c", enter + code], capture_output=True, text=True, timeout=120)

    yield run
    wait_for(lambda: procs.read_text() == "", "the end of all that ran there")
    group.rmdir()


def test_the_store_is_a_part_of_what_the_cgroup_allows(small_memory):
    """And works when it is full: what has no room goes to disk."""
    done = small_memory("""
import numpy as np
import ray_engine as ray
from ray_engine import _core

ray.init(num_cpus=1)
refs = [ray.put(np.full(10 << 20, i, np.uint8)) for i in range(40)]
for i, ref in enumerate(refs):
    assert (ray.get(ref) == i).all(), i
(row,) = _core.store_rows()
print(row["size"], row["spilled"])
""")
    assert done.returncode == 0, done.stderr
    size, spilled = map(int, done.stdout.split())
    assert 140 * MIB < size < 160 * MIB and spilled > 200 * MIB


def test_a_store_larger_than_the_cgroup_is_refused(small_memory):
    done = small_memory("import ray_engine as ray; ray.init(num_cpus=1, object_store_memory=600 << 20)")
    assert done.returncode != 0
    assert "an object store of 600.0 MiB does not fit into the 512.0 MiB" in done.stderr


# ---- the driver ------------------------------------------------------------------------------------------------------


def test_a_reader_outlives_the_driver(start):
    """What it has mapped stays as it is until it lets go; what it has not read is lost with its owner."""
    context = start(num_cpus=2, object_store_memory=STORE, namespace="readers")
    code = """
import sys
import numpy as np
import ray_engine as ray

ray.init(address=sys.argv[1], namespace="readers")

@ray.remote
class Reader:
    def read(self, value, later):
        self.value, self.later = value, later

    def total(self):
        return int(self.value.sum())

    def let_go(self):
        del self.value

    def read_later(self):
        return ray.get(self.later, timeout=30)

reader = Reader.options(name="reader", lifetime="detached").remote()
ray.get(reader.read.remote(ray.put(np.full(10 << 20, 7, np.uint8)), [ray.put(np.zeros(10 << 20, np.uint8))]))
"""
    address = context.address_info["address"]
    done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    reader = ray.get_actor("reader")
    wait_for(lambda: store()["objects"] == 1, "the value that nobody reads to go")
    ray.put(content(1, 40 * MIB))  # written over what is free
    assert store()["pinned"] > 10 * MIB
    assert ray.get(reader.total.remote(), timeout=60) == 7 * (10 << 20)
    with pytest.raises(ray.exceptions.OwnerDiedError):
        ray.get(reader.read_later.remote(), timeout=60)
    ray.get(reader.let_go.remote())
    wait_for(lambda: store()["used"] == 0, "its memory to be free")
    ray.kill(reader)
