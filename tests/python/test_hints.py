"""References say where their objects lie: reading them without asking the owner, and what happens if they are gone."""

import os
import signal

import pytest
import ray_engine as ray

from tests.python.waiting import wait_for

LARGE = 1 << 20


@ray.remote(num_cpus=0)
class Keeper:
    """Keeps references and reads them when it is told to."""

    def __init__(self):
        self.refs = []

    def keep(self, refs):
        self.refs = refs

    def sizes(self):
        return [len(value) for value in ray.get(self.refs)]

    def ready(self):
        return len(ray.wait(self.refs, num_returns=len(self.refs), timeout=60)[0])

    def free(self):
        ray.internal.free(self.refs)


@ray.remote(num_cpus=0)
class Owner:
    def __init__(self):
        self.refs = []

    def give(self, keeper, count):
        self.refs = [ray.put(bytes(LARGE + i)) for i in range(count)]
        ray.get(keeper.keep.remote(self.refs))

    def nested(self):
        return [ray.put(bytes(LARGE))]

    def pid(self):
        return os.getpid()


class Stopped:
    """A process that does not run inside the block: whoever asks it anything waits."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def test_values_are_read_without_their_owner(cluster):
    keeper, owner = Keeper.remote(), Owner.remote()
    ray.get(owner.give.remote(keeper, 3), timeout=60)
    with Stopped(ray.get(owner.pid.remote(), timeout=60)):
        assert ray.get(keeper.sizes.remote(), timeout=60) == [LARGE, LARGE + 1, LARGE + 2]
        assert ray.get(keeper.ready.remote(), timeout=60) == 3
    assert ray.get(keeper.sizes.remote(), timeout=60) == [LARGE, LARGE + 1, LARGE + 2]


def test_a_reference_inside_a_result_tells_its_place(cluster):
    owner = Owner.remote()
    refs = ray.get(owner.nested.remote(), timeout=60)
    with Stopped(ray.get(owner.pid.remote(), timeout=60)):
        assert len(ray.get(refs[0], timeout=60)) == LARGE
    del refs


def test_what_was_freed_meanwhile_is_an_error(cluster):
    keeper = Keeper.remote()
    refs = [ray.put(bytes(LARGE))]
    ray.get(keeper.keep.remote(refs), timeout=60)
    ray.internal.free(refs)
    with pytest.raises(ray.exceptions.ObjectFreedError):
        ray.get(keeper.sizes.remote(), timeout=60)


def test_who_frees_does_not_read_by_what_it_was_told(cluster):
    keeper = Keeper.remote()
    ref = ray.put(bytes(LARGE))
    ray.get(keeper.keep.remote([ref]), timeout=60)
    ray.get(keeper.free.remote(), timeout=60)
    with pytest.raises(ray.exceptions.ObjectFreedError):
        ray.get(keeper.sizes.remote(), timeout=60)


def test_an_owner_that_died_takes_its_objects_along(cluster):
    keeper, owner = Keeper.remote(), Owner.remote()
    ray.get(owner.give.remote(keeper, 1), timeout=60)
    pid = ray.get(owner.pid.remote(), timeout=60)
    ray.kill(owner)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the end of the owner")

    def fails():
        try:
            ray.get(keeper.sizes.remote(), timeout=60)
        except ray.exceptions.OwnerDiedError:
            return True

    wait_for(fails, "the end of its objects")


def test_a_worker_that_reads_what_is_here_keeps_its_cpu(start):
    start(num_cpus=2)

    @ray.remote
    def read(refs):
        return os.getpid(), sum(len(value) for value in ray.get(refs))

    refs = [ray.put(bytes(LARGE)) for _ in range(10)]
    results = ray.get([read.remote(refs) for _ in range(20)], timeout=60)
    assert {size for _, size in results} == {10 * LARGE}
    assert len({pid for pid, _ in results}) <= 2
