"""Results that lay on a node that is gone: they are made again, or the error says why they cannot be."""

import os

import numpy as np
import pytest
import ray_engine as ray
from ray_engine.cluster_utils import Cluster
from ray_engine.exceptions import (
    ActorDiedError,
    ObjectReconstructionFailedError,
    RayTaskError,
    ReconstructionFailure,
    StreamingGeneratorReplayInconsistentError,
)

from tests.python import leaks
from tests.python.waiting import wait_for

SIZE = 1 << 20
LIMIT = 60


@pytest.fixture
def nodes(start):
    """A head of one CPU, and `spare`: a function that adds a node of that resource."""
    machine = leaks.Machine(os.environ[leaks.MARK_NAME])
    cluster = Cluster()
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    machine.check()


@pytest.fixture
def runs(tmp_path):
    """note(name): a task says that it runs. times(name): how often it did."""
    folder = str(tmp_path)

    def note(name):
        with open(f"{folder}/{name}", "a") as file:
            file.write("x")

    def times(name):
        with open(f"{folder}/{name}") as file:
            return len(file.read())

    return note, times


def add_far(cluster):
    return cluster.add_node(num_cpus=1, resources={"far": 1})


def make_far(note, **options):
    @ray.remote(resources={"far": 0.1}, **options)
    def make(name, fill=1):
        note(name)
        return np.full(SIZE, fill, np.uint8)

    return make


def made_far(nodes, note, **options):
    """A node, and the reference to a result that lies on it alone."""
    node = add_far(nodes)
    ref = make_far(note, **options).remote("one")
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    return node, ref


def test_a_lost_result_is_made_again(nodes, runs):
    note, times = runs
    first = add_far(nodes)
    ref = make_far(note).remote("one", 7)
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    nodes.remove_node(first)
    add_far(nodes)
    array = ray.get(ref, timeout=LIMIT)
    assert array.sum() == 7 * SIZE and times("one") == 2


def test_what_a_lost_result_was_made_from_is_made_again(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1})
    def grow(array, name):
        note(name)
        return array + np.uint8(1)

    base = make_far(note).remote("base")
    middle = grow.remote(base, "middle")
    top = grow.remote(middle, "top")
    ray.wait([top], fetch_local=False, timeout=LIMIT)
    del base, middle  # their lineage is kept by that of `top`
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(top, timeout=LIMIT).sum() == 3 * SIZE
    assert [times(name) for name in ("base", "middle", "top")] == [2, 2, 2]


def test_a_copy_elsewhere_is_enough(nodes, runs):
    note, times = runs
    first = add_far(nodes)
    ref = make_far(note).remote("one")
    held = ray.get(ref, timeout=LIMIT)
    wait_for(lambda: len(ray.experimental.get_object_locations([ref])[ref]["node_ids"]) == 2, "the copy")
    del held
    nodes.remove_node(first)
    assert ray.get(ref, timeout=LIMIT).sum() == SIZE and times("one") == 1


def test_a_task_that_needs_a_lost_result(nodes, runs):
    note, times = runs
    first, ref = made_far(nodes, note)
    nodes.remove_node(first)
    add_far(nodes)

    @ray.remote
    def total(array):
        return int(array.sum())

    @ray.remote
    def total_of(refs):
        return int(ray.get(refs[0]).sum())

    assert ray.get([total.remote(ref), total_of.remote([ref])], timeout=LIMIT) == [SIZE, SIZE]
    assert times("one") == 2


def test_wait_waits_for_what_is_made_again(nodes, runs):
    note, times = runs
    first, ref = made_far(nodes, note)
    nodes.remove_node(first)
    assert ray.wait([ref], timeout=0.5) == ([], [ref])  # there is no node for it
    add_far(nodes)
    assert ray.wait([ref], timeout=LIMIT) == ([ref], [])
    assert times("one") == 2


def test_only_lost_results_of_a_task_are_replaced(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1}, num_returns=3)
    def make():
        note("three")
        return np.ones(SIZE, np.uint8), "small", np.ones(SIZE, np.uint8)

    a, small, c = make.remote()
    assert ray.get(small, timeout=LIMIT) == "small"
    del c
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(a, timeout=LIMIT).sum() == SIZE and ray.get(small) == "small"
    assert times("three") == 2


@pytest.mark.parametrize("reason", ["RETRIES_DISABLED", "TASK_CANCELLED", "MAX_ATTEMPTS_EXCEEDED"])
def test_why_a_lost_object_cannot_be_made_again(nodes, runs, reason):
    note, _ = runs
    retries = {"RETRIES_DISABLED": 0, "MAX_ATTEMPTS_EXCEEDED": 1}.get(reason, 3)
    node, ref = made_far(nodes, note, max_retries=retries)
    if reason == "TASK_CANCELLED":
        ray.cancel(ref)
    if reason == "MAX_ATTEMPTS_EXCEEDED":
        nodes.remove_node(node)
        assert ray.wait([ref], timeout=0.5) == ([], [ref])
        node = add_far(nodes)
        assert ray.wait([ref], timeout=LIMIT, fetch_local=False) == ([ref], [])
    nodes.remove_node(node)
    add_far(nodes)
    with pytest.raises(ObjectReconstructionFailedError, match="node") as caught:
        ray.get(ref, timeout=LIMIT)
    assert caught.value.reason is ReconstructionFailure[reason]


def test_a_lost_result_of_a_method_is_made_again_by_the_actor(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1}, num_cpus=0, max_restarts=-1, max_task_retries=-1)
    class Maker:
        def make(self, fill):
            note("method")
            return np.full(SIZE, fill, np.uint8)

        def total(self, array):
            return int(array.sum())

    maker = Maker.remote()
    ref = maker.make.remote(3)
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    nodes.remove_node(first)
    add_far(nodes)
    # The actor itself is to make what this call waits for.
    assert ray.get(maker.total.remote(ref), timeout=LIMIT) == 3 * SIZE and times("method") == 2


def test_a_lost_result_of_a_method_without_retries(nodes, runs):
    note, _ = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1}, num_cpus=0, max_restarts=-1)
    class Maker:
        def make(self):
            return np.ones(SIZE, np.uint8)

    maker = Maker.remote()
    ref = maker.make.remote()
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    nodes.remove_node(first)
    add_far(nodes)
    with pytest.raises(ObjectReconstructionFailedError) as caught:
        ray.get(ref, timeout=LIMIT)
    assert caught.value.reason is ReconstructionFailure.RETRIES_DISABLED


def keeper_far(**options):
    """A class of actors that need all of a far node, and keep an array."""

    @ray.remote(resources={"far": 1}, num_cpus=0, **options)
    class Keeper:
        def __init__(self, array):
            self.array = array

        def total(self):
            return int(self.array.sum())

    return Keeper


def make_whole(note, **options):
    """A task that needs all of a far node."""

    @ray.remote(resources={"far": 1}, **options)
    def make():
        note("whole")
        return np.ones(SIZE, np.uint8)

    return make


def test_a_constructor_whose_argument_is_lost(nodes, runs):
    note, times = runs
    first = add_far(nodes)
    ref = make_whole(note).remote()
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    nodes.remove_node(first)
    add_far(nodes)
    # The actor gives its place up, which is what making the argument again takes.
    keeper = keeper_far().remote(ref)
    assert ray.get(keeper.total.remote(), timeout=LIMIT) == SIZE and times("whole") == 2


def test_a_restarted_constructor_whose_argument_is_lost(nodes, runs):
    note, times = runs
    first = add_far(nodes)
    keeper = keeper_far(max_restarts=1, max_task_retries=-1).remote(make_whole(note).remote())
    assert ray.get(keeper.total.remote(), timeout=LIMIT) == SIZE
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(keeper.total.remote(), timeout=LIMIT) == SIZE and times("whole") == 2


def test_a_restarted_constructor_whose_argument_cannot_be_made_again(nodes, runs):
    note, _ = runs
    first = add_far(nodes)
    keeper = keeper_far(max_restarts=-1, max_task_retries=-1).remote(make_whole(note, max_retries=0).remote())
    assert ray.get(keeper.total.remote(), timeout=LIMIT) == SIZE
    nodes.remove_node(first)
    add_far(nodes)
    with pytest.raises(ActorDiedError, match="input arguments(.|\n)*RETRIES_DISABLED"):
        ray.get(keeper.total.remote(), timeout=LIMIT)


def state_of(actor_id):
    return ray.util.state.get_actor(actor_id).state


@pytest.mark.parametrize("max_restarts", [-1, 1])
def test_an_actor_out_of_scope_comes_back_for_its_lost_results(nodes, runs, max_restarts):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 1}, num_cpus=0, max_restarts=max_restarts, max_task_retries=-1)
    class Maker:
        def __init__(self, array):
            self.array = array

        def make(self):
            note("method")
            return self.array + 1

    maker = Maker.remote(make_whole(note).remote())
    actor_id = maker._actor_id.hex()
    one, two = maker.make.remote(), maker.make.remote()
    ray.wait([one, two], num_returns=2, fetch_local=False, timeout=LIMIT)
    del maker
    wait_for(lambda: state_of(actor_id) == "DEAD", "the actor's end")
    nodes.remove_node(first)
    add_far(nodes)
    assert [int(array[0]) for array in ray.get([one, two], timeout=LIMIT)] == [2, 2]
    assert times("method") == 4 and times("whole") == 2
    wait_for(lambda: state_of(actor_id) == "DEAD", "the actor's second end")


def test_an_actor_out_of_scope_that_may_not_be_restarted(nodes, runs):
    note, _ = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 1}, num_cpus=0, max_task_retries=-1)
    class Maker:
        def make(self):
            return np.ones(SIZE, np.uint8)

    ref = Maker.remote().make.remote()
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    nodes.remove_node(first)
    add_far(nodes)
    with pytest.raises(ActorDiedError):
        ray.get(ref, timeout=LIMIT)


def test_lost_items_are_yielded_again(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1})
    def count():
        note("generator")
        for i in range(4):
            yield np.full(SIZE, i, np.uint8)

    refs = list(count.remote())
    assert len(refs) == 4
    nodes.remove_node(first)
    add_far(nodes)
    assert [int(array[0]) for array in ray.get(refs, timeout=LIMIT)] == [0, 1, 2, 3]
    assert times("generator") == 2


@ray.remote
def first_of_all(generator):
    return np.full(SIZE, sum(int(array[0]) for array in ray.get(list(generator))), np.uint8)


def test_lost_items_of_a_dynamic_generator(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1}, num_returns="dynamic")
    def count():
        note("generator")
        for i in range(3):
            yield np.full(SIZE if i != 1 else 1, i, np.uint8)

    ref = count.remote()
    refs = list(ray.get(ref, timeout=LIMIT))
    total = first_of_all.options(resources={"far": 0.1}).remote(ref)
    ray.wait([total], fetch_local=False, timeout=LIMIT)
    nodes.remove_node(first)
    first = add_far(nodes)
    assert [int(array[0]) for array in ray.get(refs, timeout=LIMIT)] == [0, 1, 2]
    assert times("generator") == 2
    # Of the generator itself only the lineage is left now, for what was made from it.
    del ref, refs
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(total, timeout=LIMIT)[0] == 3 and times("generator") == 3


def test_an_item_that_is_not_yielded_again(nodes, tmp_path):
    first = add_far(nodes)
    mark = str(tmp_path / "once")

    @ray.remote(resources={"far": 0.1})
    def count():
        again = os.path.exists(mark)
        open(mark, "w").close()
        for i in range(1 if again else 2):
            yield np.full(SIZE, i, np.uint8)

    one, two = list(count.remote())
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(one, timeout=LIMIT)[0] == 0
    with pytest.raises(StreamingGeneratorReplayInconsistentError):
        ray.get(two, timeout=LIMIT)


def test_a_task_that_waits_for_a_lost_argument_keeps_nothing_that_making_it_needs(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 1})
    def make():
        note("whole")
        return np.ones(SIZE, np.uint8)

    @ray.remote(resources={"far": 1})
    def total(array):
        return int(array.sum())

    ref = make.remote()
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(total.remote(ref), timeout=LIMIT) == SIZE and times("whole") == 2


def test_what_was_put_stays_for_what_was_made_from_it(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1})
    def grow(array):
        note("grow")
        return array + np.uint8(1)

    ref = grow.remote(ray.put(np.ones(SIZE, np.uint8)))
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(ref, timeout=LIMIT).sum() == 2 * SIZE and times("grow") == 2


def test_an_argument_that_was_freed_is_made_again_for_what_was_made_from_it(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1})
    def grow(array):
        return array + np.uint8(1)

    base = make_far(note).remote("base")
    ref = grow.remote(base)
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    ray.internal.free(base)
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(ref, timeout=LIMIT).sum() == 2 * SIZE and times("base") == 2


def test_a_large_argument_with_references_in_it_stays_for_what_was_made_from_it(nodes, runs):
    note, times = runs
    first = add_far(nodes)

    @ray.remote(resources={"far": 0.1})
    def grow(both):
        note("grow")
        array, (more,) = both
        return array + ray.get(more)

    large = [np.ones(SIZE, np.uint8), [ray.put(np.uint8(1))]]
    ref = grow.remote(large)
    ray.wait([ref], fetch_local=False, timeout=LIMIT)
    del large
    nodes.remove_node(first)
    add_far(nodes)
    assert ray.get(ref, timeout=LIMIT).sum() == 2 * SIZE and times("grow") == 2


def test_what_was_put_on_a_lost_node_goes_with_its_owner(nodes):
    node = add_far(nodes)

    @ray.remote(resources={"far": 0.1}, num_cpus=0)
    class Putter:
        def put(self):
            return [ray.put(np.ones(SIZE, np.uint8))]

    (ref,) = ray.get(Putter.remote().put.remote(), timeout=LIMIT)
    nodes.remove_node(node)
    with pytest.raises(ray.exceptions.OwnerDiedError):
        ray.get(ref, timeout=LIMIT)


def test_a_task_that_depends_on_what_cannot_be_made_again(nodes, runs):
    note, _ = runs
    first, ref = made_far(nodes, note, max_retries=0)
    nodes.remove_node(first)

    @ray.remote
    def total(array):
        return int(array.sum())

    with pytest.raises((RayTaskError, ObjectReconstructionFailedError)):
        ray.get(total.remote(ref), timeout=LIMIT)
