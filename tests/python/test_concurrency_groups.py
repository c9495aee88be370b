"""Concurrency groups: methods of an actor that do not wait for those of other groups."""

import asyncio
import threading

import pytest
import ray_engine as ray


@pytest.fixture(autouse=True)
def engine(cluster):
    return cluster


@ray.remote(concurrency_groups={"io": 2, "compute": 1})
class Threaded:
    def __init__(self):
        self.doors = {name: threading.Event() for name in ("io", "compute")}

    @ray.method(concurrency_group="io")
    def io(self, wait):
        return self._wait("io", wait)

    @ray.method(concurrency_group="compute")
    def compute(self, wait):
        return self._wait("compute", wait)

    def _wait(self, name, wait):
        if wait:
            assert self.doors[name].wait(30)
        else:
            self.doors[name].set()
        return threading.get_ident()

    def default(self):
        return threading.get_ident()


@ray.remote(concurrency_groups={"io": 2, "compute": 1})
class Async:
    def __init__(self):
        self.running = {"io": 0, "compute": 0}
        self.most = {"io": 0, "compute": 0}
        self.doors = []  # (loop, event): each group has a loop of its own
        self.is_open = False

    async def _stay(self, name):
        self.running[name] += 1
        self.most[name] = max(self.most[name], self.running[name])
        if not self.is_open:
            door = asyncio.Event()
            self.doors.append((asyncio.get_running_loop(), door))
            await door.wait()
        self.running[name] -= 1

    @ray.method(concurrency_group="io")
    async def io(self):
        await self._stay("io")

    @ray.method(concurrency_group="compute")
    async def compute(self):
        await self._stay("compute")

    async def counts(self):
        return dict(self.running)

    async def open(self):
        self.is_open = True
        for loop, door in self.doors:
            loop.call_soon_threadsafe(door.set)

    async def highest(self):
        return self.most


def test_groups_do_not_wait_for_each_other():
    actor = Threaded.remote()
    waiting = [actor.io.remote(True), actor.compute.remote(True)]
    assert ray.get(actor.default.remote()) not in ray.get([actor.io.remote(False), waiting[0]])
    assert ray.wait(waiting, num_returns=2, timeout=0)[0] == waiting[:1]
    ray.get(actor.compute.options(concurrency_group="io").remote(False))
    ray.get(waiting)


def test_a_group_of_one_thread_keeps_order():
    actor = Threaded.remote()
    assert len(set(ray.get([actor.compute.remote(False) for _ in range(20)]))) == 1


def test_the_group_can_be_chosen_per_call():
    actor = Threaded.remote()
    main = ray.get(actor.default.remote())
    assert ray.get(actor.default.options(concurrency_group="compute").remote()) == ray.get(actor.compute.remote(False))
    assert ray.get(actor.default.remote()) == main
    with pytest.raises(ValueError, match="has no concurrency group 'net'"):
        actor.default.options(concurrency_group="net").remote()


def test_async_groups():
    actor = Async.remote()
    calls = [actor.io.remote() for _ in range(4)] + [actor.compute.remote() for _ in range(3)]

    from tests.python.waiting import wait_for

    wait_for(lambda: ray.get(actor.counts.remote()) == {"io": 2, "compute": 1})
    ray.get(actor.open.remote())
    ray.get(calls)
    assert ray.get(actor.highest.remote()) == {"io": 2, "compute": 1}


def test_handles_that_are_passed_on_know_the_groups():
    @ray.remote
    def call(actor):
        return ray.get(actor.io.remote(False))

    assert ray.get(call.remote(Threaded.remote()))


def test_wrong_groups():
    for groups in ({"io": -1}, {"io": "two"}, {3: 1}):
        with pytest.raises(ValueError, match="concurrency_groups"):
            ray.remote(concurrency_groups=groups)(Threaded.__ray_metadata__.modified_class).remote()


class Blocks:
    """Its default group is blocked until somebody calls open() beside it."""

    def __init__(self):
        self.door = threading.Event()

    def block(self):
        assert self.door.wait(60)
        return threading.get_ident()

    def open(self):
        self.door.set()
        return threading.get_ident()

    def fail(self):
        raise KeyError("beside")


class BlocksAsync(Blocks):
    async def block(self):
        return super().block()


def beside(method):
    return method.options(concurrency_group="_ray_system")


@pytest.mark.parametrize("blocking", [Blocks, BlocksAsync])
def test_the_system_group_runs_beside_what_blocks(blocking):
    actor = ray.remote(blocking).remote()
    blocked = actor.block.remote()
    with pytest.raises(KeyError):
        ray.get(beside(actor.fail).remote(), timeout=60)
    opened = [beside(actor.open).remote() for _ in range(3)]
    assert len({*ray.get(opened, timeout=60)}) == 1
    assert ray.get(blocked, timeout=60) not in ray.get(opened)


def test_a_call_that_blocks_the_system_group_blocks_no_other():
    actor = ray.remote(Blocks).remote()
    blocked = [beside(actor.block).remote() for _ in range(2)]
    main = ray.get(actor.open.remote(), timeout=60)
    assert main not in ray.get(blocked, timeout=60)


def test_the_system_group_beside_others():
    actor = Threaded.remote()
    waiting = [actor.io.remote(True), actor.compute.remote(True)]
    ident = ray.get(beside(actor.default).remote(), timeout=60)
    assert ident != ray.get(actor.default.remote(), timeout=60)
    ray.get([actor.io.remote(False), beside(actor.compute).remote(False)], timeout=60)
    assert ident not in ray.get(waiting, timeout=60)


def test_a_call_that_waits_for_the_system_group_can_be_cancelled():
    actor = ray.remote(Blocks).remote()
    first, second = [beside(actor.block).remote() for _ in range(2)]
    ray.cancel(second)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(second, timeout=60)
    ray.get(actor.open.remote(), timeout=60)
    ray.get(first, timeout=60)


def test_an_actor_may_define_the_system_group_itself():
    actor = ray.remote(concurrency_groups={"_ray_system": 2})(Blocks).remote()
    blocked = actor.block.remote()
    beside(actor.block).remote()
    assert ray.get(beside(actor.open).remote(), timeout=60) != ray.get(blocked, timeout=60)


@pytest.mark.parametrize("is_async", [False, True])
def test_an_actor_with_a_group_of_no_size_fails_in_its_creation(is_async):
    if is_async:

        class Ping:
            async def ping(self):
                return 1
    else:

        class Ping:
            def ping(self):
                return 1

    actor = ray.remote(concurrency_groups={"io": 1, "none": 0})(Ping).remote()
    with pytest.raises(ray.exceptions.ActorDiedError, match="max_concurrency must be greater than 0.*'none'") as info:
        ray.get(actor.ping.remote())
    assert info.value.actor_init_failed
