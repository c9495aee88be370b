"""Tasks and methods that yield: the caller reads items while the task runs."""

import asyncio
import os
import time

import pytest
import ray_engine as ray

from tests.python.waiting import wait_for


@ray.remote
def count(n, size=0):
    for i in range(n):
        yield bytes(size) if size else i


@ray.remote
def fails_after(n):
    yield from range(n)
    raise ValueError("no more")


@ray.remote
class Gate:
    def __init__(self):
        self.opened = 0

    def open(self, n=1):
        self.opened += n

    def count(self):
        return self.opened


@pytest.fixture(autouse=True)
def engine(cluster):
    return cluster


def values(generator):
    return [ray.get(ref) for ref in generator]


def test_items_come_in_order():
    assert values(count.remote(200)) == list(range(200))
    assert values(count.remote(0)) == []


def test_large_items():
    assert [len(value) for value in values(count.remote(5, 300_000))] == [300_000] * 5


def test_an_item_can_be_read_while_the_task_runs(tmp_path):
    @ray.remote
    def slow():
        yield 1
        wait_for((tmp_path / "go").exists)
        yield 2

    generator = slow.remote()
    assert ray.get(next(generator)) == 1
    assert not generator.next_ready() and not generator.is_finished()
    ready, rest = ray.wait([generator], timeout=0)
    assert (ready, rest) == ([], [generator])
    assert generator._next_sync(timeout_s=0).is_nil()
    (tmp_path / "go").write_text("")
    assert ray.wait([generator], timeout=30)[0] == [generator]
    assert ray.get(next(generator)) == 2
    with pytest.raises(StopIteration):
        next(generator)
    assert generator.is_finished() and not generator.next_ready()
    assert ray.get(generator.completed()) is None


def test_an_error_is_the_last_item():
    generator = fails_after.remote(2)
    assert [ray.get(next(generator)) for _ in range(2)] == [0, 1]
    last = next(generator)
    with pytest.raises(ValueError, match="no more"):
        ray.get(last)
    with pytest.raises(StopIteration):
        next(generator)


def test_the_death_of_the_worker_is_the_last_item():
    @ray.remote(max_retries=0)
    def dies():
        yield 1
        os._exit(1)

    refs = list(dies.remote())
    assert ray.get(refs[0]) == 1 and len(refs) == 2
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(refs[1])


def test_a_retried_task_yields_each_item_once(tmp_path):
    @ray.remote(max_retries=2)
    def dies_once():
        yield from range(3)
        if not (tmp_path / "died").exists():
            (tmp_path / "died").write_text("")
            os._exit(1)
        yield 3

    assert values(dies_once.remote()) == [0, 1, 2, 3]


def test_the_task_waits_for_a_slow_reader():
    gate = Gate.remote()

    @ray.remote(_generator_backpressure_num_objects=2, num_cpus=0)
    def produce(gate):
        for i in range(6):
            ray.get(gate.open.remote())
            yield i

    generator = produce.remote(gate)
    wait_for(lambda: ray.get(gate.count.remote()) == 2)
    time.sleep(0.05)  # it must not go on by itself
    assert ray.get(gate.count.remote()) == 2
    assert ray.get(next(generator)) == 0
    wait_for(lambda: ray.get(gate.count.remote()) == 3)
    assert values(generator) == [1, 2, 3, 4, 5]


def test_a_dropped_reader_lets_the_task_go_on():
    gate = Gate.remote()

    @ray.remote(_generator_backpressure_num_objects=1, num_cpus=0)
    def produce(gate):
        for _ in range(4):
            yield bytes(200_000)
            ray.get(gate.open.remote())

    generator = produce.remote(gate)
    ray.wait([generator])
    del generator
    wait_for(lambda: ray.get(gate.count.remote()) == 4)


def test_cancel_of_a_generator():
    @ray.remote
    def endless():
        while True:
            yield 1
            time.sleep(0.01)

    generator = endless.remote()
    next(generator)
    ray.cancel(generator)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        for ref in generator:
            ray.get(ref)


def test_items_hold_references():
    @ray.remote
    def boxes():
        for i in range(3):
            yield [ray.put(bytes([i]) * 200_000)]

    refs = [ray.get(ref)[0] for ref in boxes.remote()]
    assert [ray.get(ref)[0] for ref in refs] == [0, 1, 2]


def test_methods_yield():
    @ray.remote
    class Source:
        def some(self, n):
            yield from range(n)

        @ray.method(num_returns="streaming")
        def more(self, n):
            yield from range(n)

    source = Source.remote()
    assert values(source.some.remote(3)) == [0, 1, 2]
    assert values(source.more.remote(4)) == [0, 1, 2, 3]
    assert ray.get(source.some.options(num_returns=2).remote(2)) == [0, 1]


def test_async_methods_yield():
    @ray.remote
    class Source:
        async def some(self, n):
            for i in range(n):
                await asyncio.sleep(0)
                yield i

        @ray.method(_generator_backpressure_num_objects=1)
        async def limited(self, n):
            for i in range(n):
                yield i

    source = Source.remote()
    assert values(source.some.remote(5)) == list(range(5))
    assert values(source.limited.remote(5)) == list(range(5))


def test_async_iteration():
    async def read():
        return [await ref async for ref in count.remote(20)]

    assert asyncio.run(read()) == list(range(20))


def test_async_iteration_ends_with_the_error():
    async def read():
        found = []
        async for ref in fails_after.remote(2):
            try:
                found.append(await ref)
            except ValueError:
                found.append("error")
        return found

    assert asyncio.run(read()) == [0, 1, "error"]


def test_a_generator_stays_where_it_is():
    generator = count.remote(1)
    with pytest.raises(TypeError, match="generator"):
        ray.put(generator)
    with pytest.raises(NotImplementedError):
        generator.send(1)
    assert ray.get(generator) is generator


def test_num_returns_of_a_generator_function():
    assert ray.get(count.options(num_returns=3).remote(3)) == [0, 1, 2]


def test_dynamic():
    generator = ray.get(count.options(num_returns="dynamic").remote(3))
    assert isinstance(generator, ray.DynamicObjectRefGenerator) and len(generator) == 3
    assert values(generator) == [0, 1, 2] and len(generator) == 0
    *good, bad = ray.get(fails_after.options(num_returns="dynamic").remote(2))
    assert ray.get(good) == [0, 1]
    with pytest.raises(ValueError, match="no more"):
        ray.get(bad)


@pytest.mark.parametrize("size", [0, 300_000])
def test_a_function_that_yields_the_values_it_returns(size):
    assert len(ray.get(count.options(num_returns=3).remote(3, size))) == 3
    assert len(ray.get(count.options(num_returns=3).remote(4, size))) == 3  # the last one is not wanted
    assert ray.get(count.options(num_returns=1).remote(1)) == 0
    *good, bad = count.options(num_returns=3).remote(2, size)
    assert len(ray.get(good)) == 2
    with pytest.raises(ValueError, match="returned 2 objects, but num_returns=3"):
        ray.get(bad)


def test_an_error_after_some_of_the_values():
    *good, bad, last = fails_after.options(num_returns=4).remote(2)
    assert ray.get(good) == [0, 1]
    for ref in (bad, last):
        with pytest.raises(ValueError, match="no more"):
            ray.get(ref)
    assert ray.get(list(fails_after.options(num_returns=2).remote(2))) == [0, 1]  # it raises too late to be heard


@pytest.mark.parametrize("num_returns", ["dynamic", 3])
@pytest.mark.parametrize("size", [1, 300_000])
def test_a_generator_that_raises_is_tried_again(tmp_path, num_returns, size):
    @ray.remote(max_retries=2, retry_exceptions=[ValueError], num_returns=num_returns)
    def raises_once():
        for i in range(3):
            yield bytes([i]) * size
            if not (tmp_path / "raised").exists():
                (tmp_path / "raised").write_text("")
                raise ValueError("once")

    refs = raises_once.remote()
    items = values(ray.get(refs) if num_returns == "dynamic" else refs)
    assert [item[0] for item in items] == [0, 1, 2]


def test_wait_takes_references_and_generators():
    generator, ref = count.remote(2), ray.put(1)
    ready, rest = ray.wait([generator, ref], num_returns=2, timeout=30)
    assert ready == [generator, ref] and rest == []
