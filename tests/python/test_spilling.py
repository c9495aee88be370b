"""Values that a full object store spills to disk, and brings back."""

import os
import re
import shutil
import signal

import h5py
import numpy as np
import psutil
import pytest
import ray_engine as ray
from ray_engine import _core
from ray_engine._private.internal_api import memory_summary
from ray_engine.cluster_utils import Cluster
from ray_engine.experimental import get_object_locations
from ray_engine.internal import free

from tests.python.waiting import wait_for

MIB = 1 << 20
STORE = 64 * MIB


@pytest.fixture
def spilling(start, tmp_path):
    """spilling(**arguments) starts a session with a store of 64 MiB that spills to tmp_path."""

    def begin(**arguments):
        return start(**{"object_store_memory": STORE, "object_spilling_directory": str(tmp_path), **arguments})

    yield begin
    assert os.listdir(tmp_path) == [], "the spill file has no name"


def content(seed, size):
    """Bytes of which every one depends on the seed and its place."""
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def store():
    (row,) = _core.store_rows()
    return row


def engine():
    (process,) = [p for p in psutil.Process().children(recursive=True) if "ray-engine-node" in p.name()]
    return process


@pytest.mark.parametrize("size", [150_000, MIB, 20 * MIB])
def test_more_values_than_memory(spilling, size):
    spilling(num_cpus=1)
    count = 4 * STORE // size
    refs = [ray.put(content(i, size)) for i in range(count)]
    for i in reversed(range(count)):
        assert np.array_equal(ray.get(refs[i]), content(i, size)), i
    row = store()
    assert row["spilled"] > 2 * STORE and row["restored"] > 2 * STORE and row["problem"] == ""
    assert row["file_size"] < 5 * STORE


def test_a_copy_of_the_file_can_be_read(spilling, tmp_path):
    """h5py finds every spilled object by its entry in the index, with its checksum."""
    spilling(num_cpus=1)
    refs = {ray.put(content(i, MIB)): content(i, MIB).tobytes() for i in range(2 * STORE // MIB)}
    by_id = {ref.binary(): value for ref, value in refs.items()}
    process = engine()
    (number,) = (
        n for n in os.listdir(f"/proc/{process.pid}/fd") if "spill" in os.readlink(f"/proc/{process.pid}/fd/{n}")
    )

    def found():
        copy = shutil.copy(f"/proc/{process.pid}/fd/{number}", tmp_path / "copy.h5")
        with h5py.File(copy) as file:
            rows = [row for name in file["index"] for row in file["index"][name][:] if row["live"]]
            blocks = [file["data"][str(i)] for i in range(len(file["data"]))]
            data = np.concatenate([block[:] for block in blocks])
        os.unlink(copy)
        return {row["id"].tobytes(): data[row["offset"] : row["offset"] + row["size"]].tobytes() for row in rows}

    wait_for(lambda: len(found()) == store()["on_disk_objects"], "the flush")
    spilled = found()
    assert len(spilled) > STORE // MIB // 2
    for name, value in spilled.items():
        assert by_id[name] in value


def test_several_processes_under_load(spilling):
    """Four workers put, keep, drop and read each other's values; every byte is checked."""
    spilling(num_cpus=4)

    @ray.remote
    def make(seed):
        return content(seed, 500_000 + seed * 10_007 % 3_000_000)

    @ray.remote
    def check(seeds, values):
        expected = [content(seed, 500_000 + seed * 10_007 % 3_000_000) for seed in seeds]
        return all(np.array_equal(a, b) for a, b in zip(ray.get(values), expected, strict=True))

    refs = {seed: make.remote(seed) for seed in range(120)}
    checks = []
    for first in range(0, 120, 4):
        seeds = [first, (first * 7) % 120, (first * 11 + 3) % 120]
        checks.append(check.remote(seeds, [refs[seed] for seed in seeds]))
    for seed in range(0, 120, 3):
        assert np.array_equal(ray.get(refs[seed]), content(seed, 500_000 + seed * 10_007 % 3_000_000))
    assert all(ray.get(checks, timeout=120))
    assert store()["spilled_objects"] > 0 and store()["restored_objects"] > 0


def test_from_another_node(start, tmp_path):
    cluster = Cluster()
    cluster.add_node(num_cpus=1, object_store_memory=STORE, spill_directory=str(tmp_path))
    start(cluster.address)
    cluster.add_node(num_cpus=1, object_store_memory=STORE, spill_directory=str(tmp_path), resources={"far": 1})

    @ray.remote(resources={"far": 0.1})
    def check(seed, value):
        return np.array_equal(value, content(seed, 5 * MIB))

    refs = [ray.put(content(i, 5 * MIB)) for i in range(40)]
    assert all(ray.get([check.remote(i, ref) for i, ref in enumerate(refs)], timeout=120))
    rows = _core.store_rows()
    assert sum(row["restored"] for row in rows) > STORE
    far = [ray.remote(resources={"far": 0.1})(lambda i: content(i, 5 * MIB)).remote(i) for i in range(40)]
    for i, ref in enumerate(far):
        assert np.array_equal(ray.get(ref, timeout=60), content(i, 5 * MIB))
    ray.shutdown()
    cluster.shutdown()
    assert os.listdir(tmp_path) == []


def test_nothing_is_spilled_for_who_only_waits(start, tmp_path):
    """wait() is content with an object that stays where it is; get() is not."""
    cluster = Cluster()
    cluster.add_node(num_cpus=1, object_store_memory=STORE, spill_directory=str(tmp_path))
    start(cluster.address)
    cluster.add_node(num_cpus=1, object_store_memory=STORE, resources={"far": 1})
    near = ray.put(content(1, 40 * MIB))
    far = ray.remote(resources={"far": 1})(lambda: content(2, 40 * MIB)).remote()
    assert ray.wait([far], fetch_local=False, timeout=60) == ([far], [])
    assert ray.wait([far], timeout=0.5) == ([], [far])
    assert all(row["spilled"] == 0 for row in _core.store_rows())
    assert np.array_equal(ray.get(far, timeout=60), content(2, 40 * MIB))
    assert np.array_equal(ray.get(near, timeout=60), content(1, 40 * MIB))
    ray.shutdown()
    cluster.shutdown()


def test_freed_objects_give_their_space_back(spilling):
    spilling(num_cpus=1)
    for _ in range(5):
        refs = [ray.put(content(i, MIB)) for i in range(2 * STORE // MIB)]
        assert store()["on_disk_objects"] > 0
        free(refs[::2])
        del refs
        wait_for(lambda: store()["on_disk_objects"] == 0, "the space to be free")
    assert store()["spilled"] > 4 * STORE and store()["file_size"] < 3 * STORE
    wait_for(lambda: store()["used"] == 0, "the memory to be free")


def test_a_reader_that_is_killed(spilling):
    """While objects come back for it, and while it holds them."""
    spilling(num_cpus=2)
    refs = [ray.put(content(i, 4 * MIB)) for i in range(40)]

    @ray.remote(max_retries=0)
    def read(refs, then):
        held = [ray.get(ref) for ref in refs]
        os.kill(os.getpid(), signal.SIGKILL if then == "die" else 0)
        return len(held)

    for round_ in range(5):
        doomed = read.remote(refs[round_ : round_ + 8], "die")
        healthy = read.remote(refs[20 + round_ : 24 + round_], "live")
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(doomed, timeout=60)
        assert ray.get(healthy, timeout=60) == 4
    wait_for(lambda: store()["pinned"] == 0, "pins of the dead to go")
    for i, ref in enumerate(refs):
        assert np.array_equal(ray.get(ref), content(i, 4 * MIB))


def test_a_task_that_is_killed_while_it_waits_for_memory(spilling):
    spilling(num_cpus=2)
    held = [ray.get(ray.put(content(i, 10 * MIB))) for i in range(5)]

    @ray.remote(max_retries=0)
    def put():
        return ray.put(content(1, 30 * MIB))

    @ray.remote
    def pid():
        return os.getpid()

    waiting = put.remote()
    wait_for(lambda: store()["creates_queued"] == 1, "the put to wait")
    ray.cancel(waiting, force=True)
    with pytest.raises((ray.exceptions.WorkerCrashedError, ray.exceptions.TaskCancelledError)):
        ray.get(waiting, timeout=60)
    wait_for(lambda: store()["creates_queued"] == 0, "the line to be empty")
    del held
    assert ray.get(ray.get(put.remote(), timeout=60)).size == 30 * MIB


def test_what_is_pinned_cannot_be_spilled(spilling):
    """The error says how much there is, and who holds it."""
    spilling(num_cpus=1)
    held = [ray.get(ray.put(content(i, 10 * MIB))) for i in range(5)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError) as raised:
        ray.put(content(1, 30 * MIB))
    text = str(raised.value)
    assert "30.0 MiB asked for" in text and "of 64.0 MiB in use" in text
    assert re.search(rf"pinned: 50\.0 MiB by driver \S+ \(pid {os.getpid()}\)", text), text
    del held
    assert ray.get(ray.put(content(1, 30 * MIB))).size == 30 * MIB


def test_the_limit_of_the_file(spilling, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_ENGINE_SPILL_LIMIT", "40M")
    spilling(num_cpus=1)
    refs = []
    with pytest.raises(ray.exceptions.OutOfDiskError) as raised:
        for i in range(40):
            refs.append(ray.put(content(i, 5 * MIB)))
    text = str(raised.value)
    assert str(tmp_path) in text and "40.0 MiB" in text and "--spill-limit" in text
    assert store()["problem"]
    del refs[-2:]  # of those in memory: now the others have room to come back
    for i, ref in enumerate(refs):
        assert np.array_equal(ray.get(ref), content(i, 5 * MIB))
    del refs
    wait_for(lambda: store()["on_disk"] == 0, "the space to be free")
    again = [ray.put(content(i, 5 * MIB)) for i in range(15)]
    assert np.array_equal(ray.get(again[0]), content(0, 5 * MIB))


@pytest.mark.parametrize("how", ["limit", "setting"])
def test_nothing_is_spilled_if_that_is_wanted(spilling, monkeypatch, how):
    if how == "limit":
        monkeypatch.setenv("RAY_ENGINE_SPILL_LIMIT", "0")
        spilling(num_cpus=1)
    else:
        spilling(num_cpus=1, _system_config={"automatic_object_spilling_enabled": False})
    kept = [ray.put(content(i, 20 * MIB)) for i in range(3)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="60.0 MiB of 64.0 MiB"):
        ray.put(content(1, 20 * MIB))
    assert len(kept) == 3 and store()["spilled"] == 0


def test_a_folder_that_is_not_there(start, tmp_path, capfd):
    with pytest.raises(ConnectionError):
        start(num_cpus=1, object_spilling_directory=str(tmp_path / "missing"))
    assert "cannot spill to" in capfd.readouterr().err


def test_a_folder_that_goes_away(start, tmp_path, capfd):
    """It is said once; the store is as large as memory then. When it is there again it is used."""
    folder = tmp_path / "spill"
    folder.mkdir()
    start(num_cpus=1, object_store_memory=STORE, object_spilling_directory=str(folder))
    folder.rmdir()
    kept = [ray.put(content(i, 20 * MIB)) for i in range(3)]
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match=re.escape(str(folder))):
        ray.put(content(3, 20 * MIB))
    assert capfd.readouterr().err.count("cannot spill") == 1
    folder.mkdir()
    kept.append(ray.put(content(3, 20 * MIB)))
    for i, ref in enumerate(kept):
        assert np.array_equal(ray.get(ref), content(i, 20 * MIB))


def test_damage_on_disk_loses_the_object_and_nothing_else(spilling):
    spilling(num_cpus=1)
    refs = [ray.put(content(i, MIB)) for i in range(3 * STORE // MIB)]
    process = engine()
    (path,) = (
        f"/proc/{process.pid}/fd/{n}"
        for n in os.listdir(f"/proc/{process.pid}/fd")
        if "spill" in os.readlink(f"/proc/{process.pid}/fd/{n}")
    )
    wait_for(lambda: store()["on_disk_objects"] > 32, "objects on disk")
    with open(path, "r+b") as file:
        data = file.read()
        at = data.index(content(5, MIB).tobytes()[1000:2000])
        file.seek(at)
        file.write(b"wrong")
    with pytest.raises(ray.exceptions.ObjectLostError, match="checksum"):
        ray.get(refs[5])
    with pytest.raises(ray.exceptions.ObjectLostError, match="checksum"):
        ray.get(refs[5])
    for i in (0, 4, 6, 20):
        assert np.array_equal(ray.get(refs[i]), content(i, MIB))


def test_locations_tell_what_is_spilled(spilling):
    spilling(num_cpus=1)
    refs = [ray.put(content(i, 10 * MIB)) for i in range(12)]
    small = ray.put("small")
    wait_for(lambda: get_object_locations(refs)[refs[0]]["did_spill"], "the first to be on disk alone")
    places = get_object_locations([*refs, small])
    assert not places[refs[-1]]["did_spill"] and not places[small]["did_spill"]
    here = ray.get_runtime_context().get_node_id()
    assert {place["node_ids"][0] for place in places.values()} == {here}
    ray.get(refs[0])
    assert not get_object_locations(refs)[refs[0]]["did_spill"]


def test_one_writer_and_many_readers_get_their_turns(spilling):
    """Reading is not held up by a stream of new values."""
    spilling(num_cpus=3)
    old = [ray.put(content(i, 5 * MIB)) for i in range(25)]

    @ray.remote
    def write(seed):
        refs = [ray.put(content(seed + i, 5 * MIB)) for i in range(40)]
        return all(np.array_equal(ray.get(ref), content(seed + i, 5 * MIB)) for i, ref in enumerate(refs))

    @ray.remote
    def read(refs):
        return all(np.array_equal(ray.get(ref), content(i, 5 * MIB)) for i, ref in enumerate(refs))

    assert all(ray.get([write.remote(1000), read.remote(old), write.remote(2000), read.remote(old)], timeout=200))


def test_the_summary_of_the_stores(spilling):
    spilling(num_cpus=1)
    assert "Plasma memory usage 0 MiB, 0 objects" in memory_summary(stats_only=True)
    assert "pilled" not in memory_summary()
    refs = [ray.put(content(i, 10 * MIB)) for i in range(12)]
    held = [ray.get(ref) for ref in refs[:5]]
    wait_for(lambda: "50 MiB pinned" in memory_summary(), "the end of what is being written")  # which is pinned, too
    text = memory_summary()
    assert "Spilled" in text and "Restored" in text and "On disk" in text
    assert "queued" not in text and len(held) == 5
