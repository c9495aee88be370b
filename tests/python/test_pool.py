"""multiprocessing's Pool, as_completed() and map_unordered()."""

import functools
import math
import os
import queue
import threading

import pytest
import ray_engine as ray
from ray_engine.util import as_completed, map_unordered
from ray_engine.util.multiprocessing import Pool, TimeoutError

from tests.python.waiting import wait_for


@pytest.fixture
def pool(cluster):
    pool = Pool(3)
    yield pool
    pool.terminate()
    pool.join()


def double(x):
    return 2 * x


def test_apply(pool):
    assert pool.apply(divmod, (7, 4)) == (1, 3)
    assert pool.apply(int, ("11",), {"base": 2}) == 3
    assert pool.apply_async(lambda: os.getpid()).get(60) != os.getpid()


def test_an_error_is_that_of_the_function(pool):
    def fail(x):
        raise ValueError(f"not {x}")

    with pytest.raises(ValueError, match="not 1") as caught:
        pool.apply(fail, (1,))
    assert "fail" in str(caught.value.__cause__)  # the traceback in the process
    with pytest.raises(ValueError, match="not 0"):
        pool.map(fail, range(10))


def test_an_exception_may_be_a_result(pool):
    assert isinstance(pool.apply(lambda: ValueError("a value")), ValueError)


@pytest.mark.parametrize("chunksize", [None, 1, 7, 100])
def test_map_keeps_the_order(pool, chunksize):
    assert pool.map(lambda x: 2 * x, range(50), chunksize) == [2 * x for x in range(50)]
    assert pool.map(lambda x: x, iter("abc"), chunksize) == ["a", "b", "c"]
    assert pool.map(len, [], chunksize) == []


def test_map_uses_all_processes(pool):
    assert len(set(pool.map(lambda _: os.getpid(), range(30)))) == 3


def test_starmap(pool):
    assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]
    assert pool.starmap_async(pow, [(2, 3)], chunksize=1).get(60) == [8]


def test_an_asynchronous_result(pool, gate):
    result = pool.map_async(lambda _: gate.pass_through(), range(2))
    gate.wait_for_arrival()
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01)
    gate.open()
    assert result.get(60) == [None, None]
    assert result.ready() and result.successful()


def test_callbacks_are_called_once(pool):
    def fail(x):
        raise KeyError(x)

    got, failed = queue.Queue(), queue.Queue()
    results = [
        pool.apply_async(abs, (-3,), callback=got.put, error_callback=failed.put),
        pool.map_async(abs, [-1, -2], callback=got.put, error_callback=failed.put),
        pool.map_async(fail, range(9), callback=got.put, error_callback=failed.put),
    ]
    for result in results:
        result.wait(60)
    assert {str(got.get(timeout=60)), str(got.get(timeout=60))} == {"3", "[1, 2]"}
    assert isinstance(failed.get(timeout=60), KeyError)
    assert got.empty() and failed.empty()


def test_a_callback_may_use_the_pool(pool):
    results = queue.Queue()
    pool.apply_async(abs, (-1,), callback=lambda x: pool.apply_async(double, (x,), callback=results.put))
    assert results.get(timeout=60) == 2


def test_a_callback_that_raises_hurts_nobody_else(pool):
    result = pool.apply_async(abs, (-1,), callback=lambda _: 1 / 0)
    assert result.get(60) == 1
    assert pool.apply(abs, (-2,)) == 2


@pytest.mark.parametrize("chunksize", [1, 3, None])
def test_imap(pool, chunksize):
    assert list(pool.imap(lambda x: x + 1, range(20), chunksize)) == list(range(1, 21))
    assert sorted(pool.imap_unordered(lambda x: x + 1, iter(range(20)), chunksize)) == list(range(1, 21))


def test_imap_gives_errors_in_their_places(pool):
    results = list(pool.imap(lambda x: 1 // x, [1, 0, 1]))
    assert results[0] == results[2] == 1
    assert isinstance(results[1], Exception) and isinstance(results[1].underlying, ZeroDivisionError)


def test_imap_reads_no_more_than_it_needs(pool):
    read = []

    def numbers():
        for number in range(1000):
            read.append(number)
            yield number

    iterator = pool.imap_unordered(abs, numbers())
    assert len(read) == 3  # one for each process
    assert len({next(iterator) for _ in range(5)}) == 5
    assert len(read) == 8


def test_imap_of_arguments_that_fail(pool):
    def numbers():
        yield 1
        raise KeyError("no more")

    iterator = pool.imap(abs, numbers())
    assert next(iterator) == 1
    with pytest.raises(KeyError, match="no more"):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


def test_imap_unordered_gives_what_is_ready(pool, gate):
    def work(x):
        if x == 0:
            gate.pass_through()
        return x

    iterator = pool.imap_unordered(work, range(6))
    assert {next(iterator) for _ in range(5)} == {1, 2, 3, 4, 5}
    with pytest.raises(TimeoutError):
        iterator.next(timeout=0.01)
    gate.open()
    assert list(iterator) == [0]


def test_bad_arguments(pool):
    with pytest.raises(TypeError, match="not iterable"):
        pool.imap(abs, 3)
    with pytest.raises(ValueError, match="Chunksize"):
        pool.map(abs, [1], chunksize=0)
    with pytest.raises(ValueError, match="must be >0"):
        Pool(0)
    with pytest.raises(TypeError, match="callable"):
        Pool(1, initializer=3)
    with pytest.raises(ValueError, match="CPUs in the ray cluster"):
        Pool(10_000)


def test_close_lets_the_work_end(cluster, gate):
    pool = Pool(2)
    result = pool.map_async(lambda _: gate.pass_through(), range(2))
    iterator = pool.imap(double, range(20))
    pool.close()
    with pytest.raises(ValueError, match="not running"):
        pool.apply(abs, (1,))
    gate.open()
    pool.join()
    assert result.get(60) == [None, None]
    assert list(iterator) == [2 * x for x in range(20)]


def test_terminate_ends_the_work(cluster, gate):
    with Pool(2) as pool:
        with pytest.raises(ValueError, match="still running"):
            pool.join()
        result = pool.map_async(lambda _: gate.pass_through(), range(2))
        gate.wait_for_arrival()
    pool.join()
    with pytest.raises(ray.exceptions.RayError):
        result.get(60)


def test_an_initializer_runs_in_each_process(cluster, gate):
    def greet(text):
        gate.arrive(f"{text}-{os.getpid()}")

    with Pool(2, initializer=greet, initargs=("hello",)):
        assert len(gate.visitors()) == 2


def test_processes_are_replaced(cluster):
    with Pool(2, maxtasksperchild=1) as pool:
        assert len(set(pool.map(lambda _: os.getpid(), range(6), chunksize=1))) == 6
    pool.join()


def test_options_of_the_actors(cluster):
    def resources():
        return ray.get_runtime_context().get_assigned_resources()

    with Pool(1, ray_remote_args={"resources": {"special": 1}}) as pool:
        assert pool.apply(resources)["special"] == 1


def test_pools_inside_pools(cluster):
    def inner(x):
        with Pool(2) as pool:
            return pool.map(math.sqrt, [x, x])

    with Pool(2) as pool:
        assert pool.map(inner, [1, 4]) == [[1, 1], [2, 2]]


def test_no_thread_is_left(cluster):
    before = threading.active_count()
    with Pool(1) as pool:
        pool.apply(abs, (1,))
    pool.join()
    forgotten = Pool(1)
    assert forgotten.apply(abs, (-1,)) == 1
    del forgotten
    wait_for(lambda: threading.active_count() <= before, "the end of the pool's threads")


def test_a_pool_starts_an_engine(start):
    with Pool(2) as pool:
        assert ray.cluster_resources()["CPU"] == 2
        assert pool.map(functools.partial(max, 2), [1, 3]) == [2, 3]
    pool.join()


# ---- helpers --------------------------------------------------------------------------------------------------------


def test_as_completed(cluster, gate):
    @ray.remote
    def work(x):
        if x == 0:
            gate.pass_through()
        return x

    values = as_completed([work.remote(x) for x in range(4)], chunk_size=1)
    assert {next(values) for _ in range(3)} == {1, 2, 3}
    gate.open()
    assert list(values) == [0]


def test_as_completed_gives_references(cluster):
    refs = [ray.put(x) for x in range(25)]
    assert set(as_completed(refs, yield_obj_refs=True)) == set(refs)
    assert list(as_completed([])) == []


def test_map_unordered_limits_what_is_under_way(cluster):
    taken = []

    def numbers():
        for number in range(50):
            taken.append(number)
            yield number

    @ray.remote
    def work(x):
        return 2 * x

    results = map_unordered(work, numbers(), backpressure_size=5, chunk_size=1)
    first = next(results)
    assert len(taken) == 5
    assert sorted([first, *results]) == [2 * x for x in range(50)]


def test_helpers_check_their_arguments(cluster):
    with pytest.raises(ValueError, match="chunk_size"):
        as_completed([], chunk_size=0)
    with pytest.raises(ValueError, match="num_returns"):
        as_completed([], num_returns=2)
    with pytest.raises(ValueError, match="backpressure_size"):
        map_unordered(None, [], backpressure_size=0)
