"""Values: put, get, references, zero-copy reading, the store's limits."""

import asyncio
import collections
import copy
import datetime
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
import ray_engine as ray

from tests.python.waiting import wait_for

Point = collections.namedtuple("Point", "x y")

VALUES = [
    None, True, 0, -1, 2**200, 1.5, float("inf"), "", "text", "ünïcödé \U0001f600", b"", b"\x00\xff", (), (1, (2,
    "x")), [],
    [1, [2, [3]]], {}, {"a": {"b": 1}}, {1, 2}, frozenset("ab"), 1 + 2j, range(5), slice(1, 2), Ellipsis,
    datetime.datetime(2024, 1, 2, 3, 4), int, len, collections.OrderedDict(a=1), collections.deque([1, 2]),
    bytearray(b"abc"),
    "x" * 300_000, b"y" * 300_000, list(range(100_000)), {i: str(i) for i in range(1000)},
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=[f"{type(value).__name__}-{i}" for i, value in enumerate(VALUES)])
def test_values_come_back_equal(cluster, value):
    @ray.remote
    def echo(x):
        return x

    for result in ray.get([ray.put(value), echo.remote(value), echo.remote(ray.put(value))]):
        assert type(result) is type(value) and result == value


def test_classes_of_the_test_itself(cluster):
    class Custom:
        def __init__(self, x):
            self.x = x

        def __eq__(self, other):
            return self.x == other.x

    @ray.remote
    def grow(value):
        value.x += 1
        return value

    assert ray.get(grow.remote(Custom(1))).x == 2
    assert ray.get(ray.put(Custom([1, 2]))) == Custom([1, 2])


def test_cycles_and_shared_parts_survive(cluster):
    shared = [1]
    value = {"a": shared, "b": shared}
    value["self"] = value
    result = ray.get(ray.put(value))
    assert result["a"] is result["b"] and result["self"] is result


# ---- numpy and arrow -------------------------------------------------------------------------------------------------


ARRAYS = {
    "zeros": np.zeros(100_000),
    "fortran": np.asfortranarray(np.arange(600_000.0).reshape(600, 1000)),
    "strided": np.arange(1_000_000)[::3],
    "transposed": np.arange(600_000).reshape(600, 1000).T,
    "empty": np.zeros((0, 5)),
    "scalar array": np.array(3.5),
    "structured": np.array([(1, 2.5, b"ab")] * 50_000, dtype=[("a", "i4"), ("b", "f8"), ("c", "S2")]),
    "big endian": np.arange(50_000, dtype=">i4"),
    "dates": np.arange("2000-01", "2020-02", dtype="datetime64[D]"),
    "text": np.array(["a", "bcd"] * 20_000),
    "booleans": np.ones(200_001, dtype=bool),
    "half": np.arange(100_000, dtype=np.float16),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_equal(cluster, name):
    @ray.remote
    def echo(x):
        return x

    array = ARRAYS[name]
    for result in ray.get([ray.put(array), echo.remote(array)]):
        assert result.dtype == array.dtype and result.shape == array.shape
        np.testing.assert_array_equal(result, array)


def test_object_arrays(cluster):
    array = np.array([{"a": 1}, [2], None], dtype=object)
    assert ray.get(ray.put(array)).tolist() == array.tolist()


def test_large_arrays_are_read_in_place(cluster):
    ref = ray.put(np.arange(1_000_000))
    first, second = ray.get(ref), ray.get(ref)
    assert first.__array_interface__["data"][0] == second.__array_interface__["data"][0]
    assert not first.flags.owndata


def test_large_arrays_are_read_only(cluster):
    @ray.remote
    def writeable(array):
        return array.flags.writeable

    ref = ray.put(np.zeros(1_000_000))
    array = ray.get(ref)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    assert not ray.get(writeable.remote(ref))
    copy = array.copy()
    copy[0] = 1
    assert ray.get(ref)[0] == 0


def test_arrays_inside_other_values(cluster):
    value = {"weights": [np.arange(200_000), np.ones((300, 400))], "name": "layer"}
    result = ray.get(ray.put(value))
    np.testing.assert_array_equal(result["weights"][0], value["weights"][0])
    assert not result["weights"][1].flags.owndata and result["name"] == "layer"


def test_an_array_outlives_its_reference(cluster):
    """What was read from the store stays there as long as anything looks at it."""
    views = [ray.get(ray.put(np.full(200_000, i)))[10:20] for i in range(20)]
    gc.collect()
    for _ in range(20):
        ray.put(np.full(200_000, -1))
    assert [int(view[0]) for view in views] == list(range(20))


def test_what_the_caller_changes_later_does_not_matter(cluster):
    @ray.remote
    def total(array):
        return int(array.sum())

    array = np.ones(1000, dtype=int)
    refs = [ray.put(array), total.remote(array)]
    array[:] = 5
    assert ray.get(refs[0])[0] == 1 and ray.get(refs[1]) == 1000


def test_arrow_tables_are_read_in_place(cluster):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"n": np.arange(500_000), "x": np.random.default_rng(0).random(500_000)})

    @ray.remote
    def describe(table):
        return table.num_rows, table.column("n").chunk(0).buffers()[1].is_mutable

    ref = ray.put(table)
    assert ray.get(ref).equals(table)
    assert ray.get(describe.remote(ref)) == (500_000, False)
    addresses = {ray.get(ref).column("n").chunk(0).buffers()[1].address for _ in range(2)}
    assert len(addresses) == 1


class Buffer:
    """Bytes that are pickled out of band, as many libraries do it."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Buffer, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("kind", [bytearray, bytes, memoryview])
def test_buffers_are_read_in_place(cluster, kind):
    ref = ray.put(Buffer(kind(bytes(range(200)) * 10_000)))
    views = [memoryview(ray.get(ref).data) for _ in range(2)]
    first, second = (np.frombuffer(view, np.uint8) for view in views)
    assert first.__array_interface__["data"][0] == second.__array_interface__["data"][0]
    assert all(view.readonly for view in views)
    with pytest.raises(TypeError, match="read-only"):
        views[0][0] = 1
    del ref, views, second
    gc.collect()
    others = [ray.put(np.full(2_000_000, 255, np.uint8)) for _ in range(20)]
    assert bytes(first) == bytes(range(200)) * 10_000, "the view keeps it where it is"
    assert len(others) == 20


# ---- get -------------------------------------------------------------------------------------------------------------


def test_get_keeps_the_order(cluster):
    refs = [ray.put(i) for i in range(100)]
    assert ray.get(refs[::-1]) == list(range(99, -1, -1))
    assert ray.get([refs[3], refs[3]]) == [3, 3]
    assert ray.get([]) == []


def test_get_runs_out_of_time(cluster, gate):
    @ray.remote
    def hold(gate):
        gate.pass_through()
        return "done"

    ref = hold.remote(gate)
    for timeout in (0, 0.05):
        with pytest.raises(ray.exceptions.GetTimeoutError) as caught:
            ray.get(ref, timeout=timeout)
        assert isinstance(caught.value, TimeoutError)
    gate.open()
    assert ray.get(ref, timeout=60) == "done"
    assert ray.get(ref, timeout=0) == "done"


@pytest.mark.parametrize("value", [1, "x", None, {"a": 1}])
def test_get_takes_references_only(cluster, value):
    with pytest.raises((TypeError, ValueError)):
        ray.get(value)
    with pytest.raises((TypeError, ValueError)):
        ray.get([ray.put(1), value])


def test_put_refuses_references(cluster):
    with pytest.raises(TypeError, match="'put' on an ray.ObjectRef is not allowed.*wrap the ray.ObjectRef in a list"):
        ray.put(ray.put(1))
    assert ray.get(ray.get(ray.put([ray.put(1)]))[0]) == 1


def test_get_from_many_threads(cluster, gate):
    @ray.remote
    def value(gate, i):
        if i % 2:
            gate.pass_through(f"task{i}")
        return i

    refs = [value.options(num_cpus=0.1).remote(gate, i) for i in range(16)]
    results = {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: ray.get(refs[i])})) for i in range(16)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(results) == 8, "the values that are there")
    gate.open()
    for thread in threads:
        thread.join(60)
    assert results == {i: i for i in range(16)}


# ---- references ------------------------------------------------------------------------------------------------------


def test_references_are_values(cluster):
    first, second = ray.put(1), ray.put(1)
    assert first == first and first != second and len({first, second, first}) == 2
    assert len(first.binary()) == 28 and first.hex() == first.binary().hex()
    assert not first.is_nil() and ray.ObjectRef.nil().is_nil()
    assert first.hex() in repr(first)


def test_references_can_be_copied_watched_and_subclassed(cluster):
    class Named(ray.ObjectRef):
        def __init__(self, ref, name):
            super().__init__(ref)
            self.name = name

    ref = ray.put("value")
    watched = weakref.ref(ref)
    copies = [copy.copy(ref), *copy.deepcopy([ref]), ray.ObjectRef(ref), Named(ref, "mine")]
    assert watched() is ref and copies == [ref] * 4 and copies[-1].name == "mine"
    del ref
    assert watched() is None
    assert ray.get(copies) == ["value"] * 4 and ray.get(copies[-1]) == "value"
    assert not gc.is_tracked(copies[0])  # so that many of them cost the garbage collector nothing


@pytest.mark.parametrize("arguments", [(), (None,), ("text",), (b"x" * 28, 1), (b"x" * 28, b"y" * 8, b"z")])
def test_what_is_no_reference_is_refused(arguments):
    with pytest.raises(TypeError, match="takes another ObjectRef, or the bytes"):
        ray.ObjectRef(*arguments)
    with pytest.raises(TypeError, match="takes another ObjectRef, or the bytes"):
        ray.ObjectRef(binary=b"x" * 28)
    with pytest.raises(TypeError, match="not supported between"):
        assert ray.ObjectRef.nil() < 1


def test_references_travel_in_values(cluster):
    @ray.remote
    def wrap(refs):
        return {"refs": refs, "own": ray.put("from the task")}

    inner = ray.put("from the driver")
    result = ray.get(wrap.remote([inner]))
    assert ray.get(result["refs"][0]) == "from the driver"
    assert result["refs"][0] == inner
    assert ray.get(result["own"]) == "from the task"


def test_a_borrowed_value_outlives_the_owners_reference(cluster, gate):
    @ray.remote
    def use_later(refs, gate):
        gate.pass_through()
        return int(ray.get(refs[0]).sum())

    ref = ray.put(np.ones(300_000))
    result = use_later.remote([ref], gate)
    del ref
    gc.collect()
    gate.wait_for_arrival()
    gate.open()
    assert ray.get(result) == 300_000


def test_an_actor_keeps_a_borrowed_value(cluster):
    @ray.remote
    class Keeper:
        def keep(self, refs):
            self.ref = refs[0]

        def total(self):
            return int(ray.get(self.ref).sum())

    keeper = Keeper.remote()
    ref = ray.put(np.ones(300_000))
    ray.get(keeper.keep.remote([ref]))
    del ref
    gc.collect()
    assert ray.get(keeper.total.remote()) == 300_000


def test_a_future_of_a_reference(cluster):
    @ray.remote
    def f(x):
        return x + 1

    assert f.remote(1).future().result(timeout=60) == 2


def test_await_a_reference(cluster):
    @ray.remote
    def f(x):
        return x + 1

    async def gather():
        return await asyncio.gather(*[f.remote(i) for i in range(10)]), await f.remote(10)

    assert asyncio.run(gather()) == (list(range(1, 11)), 11)


def test_an_owner_that_died_is_named(cluster):
    """A value is lost with the process that owns it, and the error says so."""

    @ray.remote
    class Maker:
        def make(self):
            return [ray.put(b"x" * 300_000)]

    maker = Maker.remote()
    (ref,) = ray.get(maker.make.remote())
    ray.kill(maker)

    def lost():
        try:
            ray.get(ref, timeout=60)
        except ray.exceptions.OwnerDiedError:
            return True
        return False

    wait_for(lost, "the loss of the value")


# ---- the store -------------------------------------------------------------------------------------------------------


def test_space_is_used_again(start):
    """Twenty times a third of the store, one after the other."""
    start(num_cpus=1, object_store_memory=90 * 2**20)
    for i in range(20):
        ref = ray.put(np.full(30 * 2**20 // 8, i))
        assert ray.get(ref)[-1] == i
        del ref
        gc.collect()


def test_space_of_results_is_used_again(start):
    start(num_cpus=1, object_store_memory=90 * 2**20)

    @ray.remote
    def make(i):
        return np.full(30 * 2**20 // 8, i)

    for i in range(20):
        assert ray.get(make.remote(i))[-1] == i
        gc.collect()


def test_a_value_larger_than_the_store(start):
    start(num_cpus=1, object_store_memory=90 * 2**20)

    @ray.remote
    def make():
        return np.ones(120 * 2**20 // 8)

    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="larger than the whole .* 94371840 bytes"):
        ray.put(np.ones(120 * 2**20 // 8))
    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        ray.get(make.remote(), timeout=60)
    assert ray.get(ray.put(b"the store still works" * 10_000))[:9] == b"the store"


def test_references_pickled_outside_are_usable_again(cluster):
    ref = ray.put("kept")
    copy = pickle.loads(ray.cloudpickle.dumps(ref))
    assert copy == ref and ray.get(copy) == "kept"


def test_an_object_owned_by_an_actor_lives_as_long_as_the_actor(cluster):
    @ray.remote(num_cpus=0)
    class Owner:
        def keep(self, reference):
            self.kept = reference

    @ray.remote(num_cpus=0)
    class Maker:
        def make(self, size, owner):
            return [ray.put(np.ones(size), _owner=owner)]

    total = ray.remote(lambda array: array.sum())
    owner, maker = Owner.remote(), Maker.remote()
    for size in (10, 10**6):
        (reference,) = ray.get(maker.make.remote(size, owner))
        ray.get(owner.keep.remote(reference))
        assert ray.get(total.remote(reference)) == size
    ray.kill(maker)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(maker.make.remote(1, owner))
    assert ray.get(total.remote(reference)) == 10**6
    ray.kill(owner)
    with pytest.raises(RuntimeError, match="is not alive"):
        ray.put(1, _owner=owner)
    with pytest.raises(ray.exceptions.OwnerDiedError):
        wait_for(lambda: ray.get(reference) is None)  # the process ends a moment after the actor
    with pytest.raises(TypeError, match="ActorHandle"):
        ray.put(1, _owner="somebody")
