"""Where objects are, and values given up by free()."""

import numpy as np
import pytest
import ray_engine as ray
from ray_engine.exceptions import GetTimeoutError, ObjectFreedError
from ray_engine.experimental import get_local_object_locations, get_object_locations
from ray_engine.internal import free

LARGE = 1 << 20


@pytest.fixture
def make():
    @ray.remote
    def make(size):
        return np.ones(size, np.uint8)

    return make


def test_a_stored_object_is_on_its_node(cluster, make):
    here = ray.get_runtime_context().get_node_id()
    put, made = ray.put(np.ones(LARGE, np.uint8)), make.remote(LARGE)
    ray.wait([made], fetch_local=False)
    places = get_object_locations([put, made])
    assert places[put]["node_ids"] == [here]
    assert places[put]["object_size"] > LARGE and places[made]["object_size"] > LARGE
    assert set(places[made]["node_ids"]) <= {node["NodeID"] for node in ray.nodes()}
    assert get_local_object_locations([put]) == {put: places[put]}


def test_a_small_object_is_with_its_owner(cluster):
    ref = ray.put("small")
    place = get_object_locations([ref])[ref]
    assert place["node_ids"] == [ray.get_runtime_context().get_node_id()]
    assert place["object_size"] > 0


def test_an_object_that_is_not_there_yet(cluster, gate):
    @ray.remote
    def wait():
        gate.pass_through()

    @ray.remote
    def look(refs):
        with pytest.raises(GetTimeoutError):
            get_object_locations(refs, timeout_ms=10)
        return get_local_object_locations(refs)[refs[0]]

    ref = wait.remote()
    nowhere = {"node_ids": [], "object_size": None, "did_spill": False}
    assert get_object_locations([ref])[ref] == nowhere
    assert ray.get(look.remote([ref])) == nowhere
    gate.open()
    ray.get(ref)


def test_an_object_of_another_process(cluster):
    @ray.remote
    def put():
        return [ray.put(np.ones(LARGE, np.uint8))]

    (ref,) = ray.get(put.remote())
    assert get_object_locations([ref])[ref]["object_size"] > LARGE


def test_no_objects(cluster):
    assert get_object_locations([]) == get_local_object_locations([]) == {}


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_freed_object_cannot_be_read(cluster, make, size):
    @ray.remote
    def use(x):
        return len(x)

    put, made = ray.put(np.ones(size, np.uint8)), make.remote(size)
    ray.get(made)
    free([put, made])
    for ref in (put, made):
        with pytest.raises(ObjectFreedError):
            ray.get(ref)
        with pytest.raises(ObjectFreedError):
            ray.get([ref])
        with pytest.raises(ObjectFreedError):
            ray.get(use.remote(ref))
    free(put)  # once more is no harm
    assert ray.wait([put])[0] == [put]


def test_a_view_outlives_the_freed_object(cluster):
    ref = ray.put(np.full(LARGE, 7, np.uint8))
    view = ray.get(ref)
    free(ref)
    assert (view == 7).all()


def test_a_borrower_may_free(cluster):
    @ray.remote
    def give_up(refs):
        free(refs)
        with pytest.raises(ObjectFreedError):
            ray.get(refs[0])

    @ray.remote
    class Owner:
        def put(self):
            self.ref = ray.put(np.ones(LARGE, np.uint8))
            return [self.ref]

        def read(self):
            return len(ray.get(self.ref))

    mine = ray.put(np.ones(LARGE, np.uint8))
    ray.get(give_up.remote([mine]))
    with pytest.raises(ObjectFreedError):
        ray.get(mine)
    owner = Owner.remote()
    (theirs,) = ray.get(owner.put.remote())
    free(theirs)
    with pytest.raises(ObjectFreedError):
        ray.get(theirs)
    with pytest.raises(ObjectFreedError):
        ray.get(owner.read.remote())


def test_freeing_gives_the_memory_back(start):
    start(num_cpus=1, object_store_memory=100 << 20)
    refs = []
    for _ in range(5):
        refs.append(ray.put(np.ones(60 << 20, np.uint8)))
        free(refs[-1])


def test_what_is_not_there_or_an_error_stays(cluster, gate):
    @ray.remote
    def work():
        gate.pass_through()
        return 1

    @ray.remote
    def fail():
        raise KeyError("x")

    pending, failed = work.remote(), fail.remote()
    ray.wait([failed])
    free([pending, failed])
    gate.open()
    assert ray.get(pending) == 1
    with pytest.raises(KeyError):
        ray.get(failed)


def test_free_checks_its_arguments(cluster):
    with pytest.raises(TypeError, match="list of ObjectRef"):
        free(3)
    with pytest.raises(TypeError, match="not an ray.ObjectRef"):
        free([3])
    with pytest.raises(NotImplementedError, match="local_only"):
        free([], local_only=True)
