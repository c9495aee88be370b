"""ray.wait: what is ready, in which order, for how long."""

import threading

import pytest
import ray_engine as ray

from tests.python.waiting import wait_for


@pytest.fixture
def hold(cluster):
    @ray.remote(num_cpus=0)
    def hold(gate, who="somebody"):
        gate.pass_through(who)
        return who

    return hold


def test_ready_first(hold, gate):
    quick = ray.put(1)
    slow = hold.remote(gate)
    assert ray.wait([slow, quick]) == ([quick], [slow])
    gate.open()
    assert ray.wait([slow, quick], num_returns=2) == ([slow, quick], [])


def test_no_more_than_asked_for(cluster):
    refs = [ray.put(i) for i in range(10)]
    ready, rest = ray.wait(refs, num_returns=3)
    assert len(ready) == 3 and len(rest) == 7
    assert ready == [ref for ref in refs if ref in ready] and rest == [ref for ref in refs if ref in rest]


def test_order_is_kept_in_both_lists(hold, gate):
    refs = [hold.remote(gate, "a"), ray.put(1), hold.remote(gate, "b"), ray.put(2)]
    assert ray.wait(refs, num_returns=2) == ([refs[1], refs[3]], [refs[0], refs[2]])
    gate.open()
    ray.get(refs)


def test_timeouts(hold, gate):
    ref = hold.remote(gate)
    assert ray.wait([ref], timeout=0) == ([], [ref])
    assert ray.wait([ref], timeout=0.1) == ([], [ref])
    gate.open()
    assert ray.wait([ref], timeout=60) == ([ref], [])


def test_failed_is_ready(cluster):
    @ray.remote
    def fail():
        raise ValueError

    ref = fail.remote()
    assert ray.wait([ref], timeout=60) == ([ref], [])


def test_without_fetching(cluster):
    @ray.remote
    def large():
        return b"x" * 500_000

    ref = large.remote()
    assert ray.wait([ref], fetch_local=False, timeout=60) == ([ref], [])


def test_results_one_by_one(cluster):
    @ray.remote
    def f(i):
        return i

    pending, values = [f.remote(i) for i in range(300)], []
    while pending:
        ready, pending = ray.wait(pending)
        values += ray.get(ready)
    assert sorted(values) == list(range(300))


def test_from_several_threads(hold, gate):
    refs = [hold.remote(gate, f"t{i}") for i in range(8)]
    done = []
    threads = [threading.Thread(target=lambda ref=ref: done.append(ray.wait([ref], timeout=60)[0])) for ref in refs]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(gate.visitors()) == 8, "all tasks")
    gate.open()
    for thread in threads:
        thread.join(60)
    assert sorted(ref.hex() for (ref,) in done) == sorted(ref.hex() for ref in refs)


def test_in_a_task(cluster):
    @ray.remote
    def inner(i):
        return i

    @ray.remote
    def outer():
        ready, rest = ray.wait([inner.remote(i) for i in range(4)], num_returns=4)
        return len(ready), len(rest), sorted(ray.get(ready))

    assert ray.get(outer.remote()) == (4, 0, [0, 1, 2, 3])


def test_bad_arguments(cluster):
    ref, other = ray.put(1), ray.put(2)
    with pytest.raises(TypeError):
        ray.wait(ref)
    with pytest.raises(TypeError):
        ray.wait([1])
    for arguments in ({"num_returns": 0}, {"num_returns": -1}, {"num_returns": 3}, {"timeout": -1}):
        with pytest.raises(ValueError):
            ray.wait([ref, other], **arguments)
    with pytest.raises(ValueError):
        ray.wait([ref, ref])
    assert ray.wait([]) == ([], [])
