"""Awaiting references, and what a coroutine of an actor knows of its call."""

import asyncio

import pytest
import ray_engine as ray

from tests.python.waiting import Gate


def test_a_reply_that_came_before_it_is_awaited(cluster, tmp_path):
    """Nothing in this process looks for replies between the call and the await."""

    @ray.remote
    class Actor:
        def arrive(self, gate):
            gate.arrive()
            return 1

    async def rounds():
        for number in range(30):
            gate = Gate(tmp_path, str(number))
            ref = actor.arrive.remote(gate)
            gate.wait_for_arrival()
            assert await asyncio.wait_for(ref.as_future(), 60) == 1

    actor = Actor.remote()
    ray.get(actor.__ray_ready__.remote())
    asyncio.run(rounds())


@pytest.fixture
def Actor():
    class Actor:
        async def who(self, wait_for_other=False):
            context = ray.get_runtime_context()
            before = context.get_task_id()
            await asyncio.sleep(0.01 if wait_for_other else 0)
            assert context.get_task_id() == before
            return before, context.get_task_name(), context.get_actor_id()

        async def begin(self):
            self.left = asyncio.get_running_loop().create_task(self.later())

        async def later(self):
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)
            self.seen = ray.get_runtime_context().get_task_id()

        async def end(self):
            return await self.left, self.seen

    return ray.remote(Actor)


def test_a_coroutine_knows_its_task(cluster, Actor):
    actor = Actor.remote()
    refs = [actor.who.remote(number % 2 == 0) for number in range(6)]
    answers = ray.get(refs)
    assert [task for task, _, _ in answers] == [ref.task_id().hex() for ref in refs]
    assert {name for _, name, _ in answers} == {"Actor.who"}
    assert {actor_id for _, _, actor_id in answers} == {actor._actor_id.hex()}


def test_what_a_call_leaves_behind_has_no_task(cluster, Actor):
    actor = Actor.remote()
    ray.get(actor.begin.remote())
    assert ray.get(actor.end.remote()) == (None, None)


def test_functions_of_the_engine_can_be_captured(cluster):
    get, put = ray.get, ray.put

    @ray.remote
    def work():
        return get(put(3))

    assert ray.get(work.remote()) == 3


def test_a_value_that_reads_another_while_it_is_loaded(cluster):
    class Reads:
        def __init__(self, ref):
            self.ref = ref

        def __reduce__(self):
            return ray.get, (self.ref,)

    ref = ray.put(42)
    for _ in range(5):
        ref = ray.put(Reads(ref))
    assert ray.get(ref, timeout=60) == 42


def test_a_method_without_await_returns_a_reference_as_it_is(cluster):
    @ray.remote
    class Actor:
        async def keep(self, value):
            self.kept = ray.put(value)

        def kept_reference(self):
            return self.kept

    actor = Actor.remote()
    ray.get(actor.keep.remote(7))
    reference = ray.get(actor.kept_reference.remote())
    assert isinstance(reference, ray.ObjectRef) and ray.get(reference) == 7
