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
