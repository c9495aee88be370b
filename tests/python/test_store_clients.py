"""Processes that write to the store and read from it, killed in the middle of that."""

import os
import signal

import numpy as np
import pytest
import ray_engine as ray
from ray_engine import _core

from tests.python.waiting import wait_for

KILLS = 12


def store():
    (row,) = _core.store_rows()
    return row


@pytest.mark.parametrize("size", [150_000, 3_000_000])
def test_a_process_killed_anywhere_gives_back_all_it_had(start, size):
    """SIGKILL comes from outside at whatever instruction: among chunks, copies, seals, pins and arrays being filled."""
    start(num_cpus=1, object_store_memory=256 << 20)
    shared = ray.put(np.arange(size, dtype=np.uint8))
    before = store()["used"]

    @ray.remote
    class Client:
        def pid(self):
            return os.getpid()

        def work(self, shared):
            while True:
                array = ray.empty(size, np.uint8)
                array[:] = 1
                kept = [ray.put(np.zeros(size, np.uint8)) for _ in range(5)] + [ray.put(array)]
                values = ray.get([*kept, *shared])
                del kept, array
                values.clear()

    for _ in range(KILLS):
        client = Client.remote()
        pid = ray.get(client.pid.remote())
        created = store()["used"]
        running = client.work.remote([shared])
        wait_for(lambda created=created: store()["used"] > created, "it writes")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(running)
        wait_for(
            lambda: (row := store())["used"] == before and row["in_chunks"] == row["in_arrays"] == 0, "all is back"
        )
    assert np.array_equal(ray.get(shared), np.arange(size, dtype=np.uint8))
    wait_for(lambda: store()["objects"] == 1)


def test_a_forked_child_gives_back_nothing_of_its_parents(start):
    start(num_cpus=1, object_store_memory=64 << 20)
    array, view = ray.empty(10**6), ray.get(ray.put(np.ones(10**6)))  # of an object that nobody refers to
    wait_for(lambda: store()["objects"] == 1)
    before = store()
    child = os.fork()
    if child == 0:
        del array, view
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    after = store()
    assert (after["used"], after["in_arrays"], after["objects"]) == (before["used"], before["in_arrays"], 1)
    assert view.sum() == 10**6 and array.flags.writeable


def test_views_outlive_the_session(start):
    start(num_cpus=1)
    value = ray.get(ray.put(np.arange(10**6)))
    ray.shutdown()
    assert value.sum() == sum(range(10**6))
    with pytest.raises(ValueError, match="read-only"):
        value[0] = 1
    del value
