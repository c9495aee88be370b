"""Arrays made in the store (ray_engine.empty)."""

import gc

import numpy as np
import pytest
import ray_engine as ray
from ray_engine import _core

from tests.python.waiting import wait_for

SIZE = 8_000_000


def store():
    (row,) = _core.store_rows()
    return row


def address(array):
    return array.__array_interface__["data"][0]


def made(shape=(1000, 1000), dtype=float):
    array = ray.empty(shape, dtype)
    array[:] = np.arange(array.size, dtype=np.uint8).reshape(array.shape)
    return array


def is_free():
    gc.collect()
    return store()["used"] == 0


@pytest.fixture
def node(start):
    start(num_cpus=1, object_store_memory=64 << 20)


@pytest.mark.parametrize(
    "shape, dtype",
    [((1000, 1000), float), (10**6, "i4"), ([50, 40, 300], np.complex64), ((200_000,), "U3"), (90_000, "u1,f8")],
)
def test_putting_one_copies_nothing(node, shape, dtype):
    array = ray.empty(shape, dtype)
    assert array.flags.writeable and array.flags.c_contiguous and array.dtype == np.dtype(dtype)
    array.reshape(-1).view(np.uint8)[:] = 7
    size = store()["used"]
    assert array.nbytes <= size == store()["in_arrays"]
    ref = ray.put(array)
    value = ray.get(ref)
    assert address(value) == address(array)
    assert value.shape == array.shape == np.empty(shape, dtype).shape and value.dtype == array.dtype
    row = store()
    assert row["used"] == size and row["in_arrays"] == 0 and row["objects"] == 1 and row["pinned"] > 0


def test_one_that_was_put_is_read_only_and_lives_on_without_its_object(node):
    array = made()
    expected = array.copy()
    ref = ray.put(array)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.setflags(write=True)
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.base.setflags(write=True)
    del ref
    assert np.array_equal(array, expected)
    ray.put(made())  # nothing takes its place
    assert np.array_equal(array, expected)
    del array
    wait_for(is_free)


def test_one_that_is_dropped_is_freed_with_its_last_view(node):
    array = made()
    view = array[3:, 7]
    del array
    assert store()["in_arrays"] >= SIZE
    view[:] = 5
    del view
    wait_for(is_free)


@pytest.mark.parametrize(
    "use",
    [
        lambda array: array[1:],
        lambda array: array[:, ::2],
        lambda array: array.T,
        lambda array: [array],
        lambda array: {"a": array, "b": 1},
        lambda array: array.reshape(-1),
    ],
    ids=["slice", "steps", "transposed", "list", "dict", "reshaped"],
)
def test_anything_else_is_copied(node, use):
    array = made()
    ref = ray.put(use(array))
    array[0, 0] = 77  # still the program's
    value = ray.get(ref)
    inside = {list: lambda: value[0], dict: lambda: value["a"]}
    first = inside.get(type(value), lambda: value)()
    assert not np.shares_memory(first, array)
    array[0, 0] = 0
    assert str(value) == str(use(array))


def test_while_another_view_could_write_it_is_copied(node):
    array = made()
    view = array[0]
    value = ray.get(ray.put(array))
    view[0] = 99
    assert array.flags.writeable and array[0, 0] == 99 and value[0, 0] == 0


def test_a_second_put_copies(node):
    array = made()
    first, second = ray.put(array), ray.put(array)
    values = ray.get([first, second])
    assert address(values[0]) == address(array) != address(values[1]) and np.array_equal(*values)


def test_tasks_take_and_return_them_without_a_copy(node):
    @ray.remote
    def fill(values):
        array = ray.empty(values.shape)
        before = {name: _core.store_rows()[0][name] for name in ("used", "in_arrays")}
        array[:] = values + 1
        return array, before

    @ray.remote
    def make(count):
        array = ray.empty(count)
        array[:] = np.arange(count)
        return array

    result = ray.get(make.remote(10**6))
    assert np.array_equal(result, np.arange(10**6)) and store()["used"] < 1.1 * SIZE
    del result
    wait_for(is_free)
    array = made()
    value, before = ray.get(fill.remote(array))
    assert before["used"] < 2.1 * SIZE and before["in_arrays"] < 1.1 * SIZE, "the argument was not copied"
    assert not array.flags.writeable and np.array_equal(value, array + 1)


def test_one_that_a_dead_worker_was_filling_is_freed(node):
    @ray.remote
    class Holder:
        def __init__(self):
            self.array = ray.empty(10**6)

        def size(self):
            return self.array.nbytes

    holder = Holder.remote()
    assert ray.get(holder.size.remote()) <= store()["in_arrays"]
    ray.kill(holder)
    wait_for(is_free)


def test_small_ones_are_ordinary_arrays(node):
    array = ray.empty(10, int)
    array[:] = 1
    assert store()["used"] == 0 and list(ray.get(ray.put(array))) == [1] * 10 and array.flags.writeable
    assert ray.empty((0, 5)).shape == (0, 5) and ray.empty(()).shape == ()


def test_one_larger_than_the_store(node):
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match=r"80000\d+ bytes .* 67108864 bytes"):
        ray.empty(10**7)


@pytest.mark.parametrize(
    "shape, dtype, error, text",
    [
        ((-1, 5), float, ValueError, "negative, got \\(-1, 5\\)"),
        ("x", float, TypeError, "a shape is an int or a tuple of them, got 'x'"),
        ((2.5,), float, TypeError, "a shape is"),
        (5, object, TypeError, "holds no Python objects"),
        (5, [("a", object)], TypeError, "holds no Python objects"),
        (10**6, "M8[s]", TypeError, "its memory cannot be shared"),
        (5, "nonsense", TypeError, "not understood"),
    ],
)
def test_bad_arguments(node, shape, dtype, error, text):
    with pytest.raises(error, match=text):
        ray.empty(shape, dtype)


def test_after_its_session(start):
    start(num_cpus=1, object_store_memory=64 << 20)
    array = made()
    ray.shutdown()
    array[:] = 1
    ray.init(num_cpus=1, object_store_memory=64 << 20)
    assert ray.get(ray.put(array)).sum() == 10**6, "copied: its store is gone"
