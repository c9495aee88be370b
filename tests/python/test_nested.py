"""Tasks that wait for tasks: no deadlock, CPUs lent and taken back."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import ray_engine as ray

from tests.python.waiting import overlap, wait_for


@pytest.mark.parametrize("cpus", [1, 2])
def test_waiting_for_a_task_queued_behind(start, cpus):
    """The first task waits for one submitted after it; with tasks queued ahead on a worker this could wait for ever."""
    start(num_cpus=cpus)

    @ray.remote(num_cpus=0)
    class Mailbox:
        def __init__(self):
            self.refs = None

        def put(self, refs):
            self.refs = refs

        def look(self):
            return self.refs

    @ray.remote
    def step(mailbox=None):
        if mailbox is None:
            return "second"
        refs = wait_for(lambda: ray.get(mailbox.look.remote()))
        return "first after " + ray.get(refs[0])

    mailbox = Mailbox.remote()
    assert ray.get([step.remote() for _ in range(20)]) == ["second"] * 20  # the engine now knows the function as short
    first = step.remote(mailbox)
    second = step.remote()
    ray.get(mailbox.put.remote([second]))
    assert ray.get(first, timeout=60) == "first after second"


@pytest.mark.parametrize("cpus", [1, 2])
def test_waiting_for_many_own_tasks(start, cpus):
    start(num_cpus=cpus)

    @ray.remote
    def leaf(i):
        return i

    @ray.remote
    def branch(n):
        return sum(ray.get([leaf.remote(i) for i in range(n)]))

    @ray.remote
    def trunk():
        return sum(ray.get([branch.remote(10) for _ in range(10)]))

    assert ray.get([trunk.remote() for _ in range(3)], timeout=120) == [450] * 3


def test_two_tasks_on_two_cpus_run_at_once(start):
    start(num_cpus=2)

    @ray.remote
    def work(seconds):
        begin = time.time()
        time.sleep(seconds)
        return begin, time.time()

    ray.get([work.remote(0) for _ in range(4)])
    assert overlap(ray.get([work.remote(1), work.remote(1)]))


def test_two_tasks_on_one_cpu_do_not(start):
    start(num_cpus=1)

    @ray.remote
    def work():
        begin = time.time()
        time.sleep(0.2)
        return begin, time.time()

    assert not overlap(ray.get([work.remote(), work.remote()]))


def test_a_long_task_does_not_hold_up_those_behind_it(start, gate):
    """A task measured as short may be queued ahead; when the one before it turns out long, it goes elsewhere."""
    start(num_cpus=2)

    @ray.remote
    def step(gate=None):
        if gate:
            gate.pass_through()
        return 1

    ray.get([step.remote() for _ in range(100)])
    blocked = step.remote(gate)
    assert ray.get([step.remote() for _ in range(50)], timeout=60) == [1] * 50
    gate.open()
    assert ray.get(blocked) == 1


def test_a_blocked_task_lends_its_cpu(start, gate):
    start(num_cpus=1)

    @ray.remote
    def blocked(refs):
        return ray.get(refs[0])

    @ray.remote(num_cpus=0)
    def hold(gate):
        gate.pass_through()
        return "held"

    @ray.remote
    def other():
        return "other"

    waiting = blocked.remote([hold.remote(gate)])
    gate.wait_for_arrival()
    assert ray.get(other.remote(), timeout=60) == "other"
    gate.open()
    assert ray.get(waiting, timeout=60) == "held"


def test_a_woken_task_takes_its_cpu_back(start, tmp_path, gate):
    """With one CPU and a woken task running, a new task has to wait until it is done."""
    start(num_cpus=1)
    second = type(gate)(tmp_path, "second")

    @ray.remote(num_cpus=0)
    def hold(gate):
        gate.pass_through()

    @ray.remote
    def blocked(refs, second):
        ray.get(refs[0])
        second.pass_through("woken")

    @ray.remote
    def late(second):
        second.arrive("late")

    waiting = blocked.remote([hold.remote(gate)], second)
    gate.wait_for_arrival()
    gate.open()
    second.wait_for_arrival("woken")
    after = late.remote(second)
    assert ray.wait([after], timeout=1) == ([], [after])
    assert not second.arrived("late")
    second.open()
    ray.get([waiting, after], timeout=60)
    assert second.arrived("late")


@pytest.mark.timeout(600)
def test_two_hundred_levels(start):
    start(num_cpus=2)

    @ray.remote
    def down(n):
        return 0 if n == 0 else 1 + ray.get(down.remote(n - 1))

    assert ray.get(down.remote(200), timeout=500) == 200


def test_many_threads_of_one_process_wait(start):
    start(num_cpus=2)

    @ray.remote
    def square(x):
        return x * x

    def many(base, results):
        results[base] = [ray.get(square.remote(base + i)) for i in range(50)]

    results = {}
    threads = [threading.Thread(target=many, args=(1000 * t, results)) for t in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert results == {1000 * t: [(1000 * t + i) ** 2 for i in range(50)] for t in range(12)}


def test_threads_of_a_task_wait(start):
    start(num_cpus=1)

    @ray.remote
    def square(x):
        return x * x

    @ray.remote
    def spread():
        values = {}
        threads = [threading.Thread(target=lambda i=i: values.update({i: ray.get(square.remote(i))})) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return values

    assert ray.get(spread.remote(), timeout=60) == {i: i * i for i in range(8)}


@pytest.mark.parametrize("call", ["ray.get(ref)", "ray.wait([ref])", "ray.get([ref], timeout=1000)"])
def test_interrupt_while_waiting(call, tmp_path):
    """Ctrl-C comes through at once, and the session goes on."""
    code = f"""
import signal, sys, threading, time, os
import ray_engine as ray

@ray.remote(num_cpus=0)
def for_ever():
    time.sleep(1000)

@ray.remote
def f():
    return 5

ray.init(num_cpus=1)
ref = for_ever.remote()
threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", ray.get(f.remote()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "interrupted 5\n", done.stderr


def test_full_rings_in_both_directions(start):
    """Two actors that send each other far more than a ring holds, both without waiting."""
    start(num_cpus=2)

    @ray.remote
    class Peer:
        def __init__(self):
            self.received = 0

        def take(self, data):
            self.received += len(data)
            return data

        def flood(self, other, count, size):
            refs = [other.take.remote(b"x" * size) for _ in range(count)]
            return sum(len(value) for value in ray.get(refs))

        def total(self):
            return self.received

    count, size = 300, 20_000
    # Two lanes each: the peer that is flooding must still be able to take.
    left, right = (Peer.options(max_concurrency=2).remote() for _ in range(2))
    sent = [left.flood.remote(right, count, size), right.flood.remote(left, count, size)]
    assert ray.get(sent, timeout=120) == [count * size] * 2
    assert ray.get([left.total.remote(), right.total.remote()]) == [count * size] * 2


def test_driver_and_worker_flood_each_other(start):
    start(num_cpus=1)

    @ray.remote
    def echo(data):
        return data

    refs = [echo.remote(bytes([i % 256]) * 30_000) for i in range(1000)]
    assert all(value == bytes([i % 256]) * 30_000 for i, value in enumerate(ray.get(refs, timeout=120)))


def test_user_code_that_forks_in_a_worker(start):
    start(num_cpus=1)

    @ray.remote
    def uses_processes(n):
        import multiprocessing

        with multiprocessing.get_context("fork").Pool(2) as pool:
            return sum(pool.map(abs, range(-n, 0)))

    @ray.remote
    def f(x):
        return x

    for _ in range(3):
        assert ray.get(uses_processes.remote(10), timeout=60) == 55
        assert ray.get(f.remote(1)) == 1


def test_a_forked_child_that_outlives_the_task_holds_nothing_up(start):
    start(num_cpus=1)

    @ray.remote
    def leave_a_child():
        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
            os._exit(0)
        return pid

    child = ray.get(leave_a_child.remote())
    ray.shutdown()
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass


def test_signals_do_not_confuse_waiting(start):
    """A handler that runs while get waits, and returns, does not end the wait."""
    start(num_cpus=1)

    @ray.remote
    def slow():
        time.sleep(1)
        return "value"

    seen = []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        assert ray.get(slow.remote(), timeout=60) == "value"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen


def depth():
    return ray._core.current_task()["depth"]


def test_the_depth_of_tasks_grows_from_caller_to_callee(cluster):
    @ray.remote
    class Actor:
        def __init__(self):
            self.created_at = depth()

        def depths(self):
            return self.created_at, depth()

        def through_a_task(self):
            return ray.get(chain.remote(0))

    @ray.remote
    def chain(levels):
        return [depth(), *(ray.get(chain.remote(levels - 1)) if levels else [])]

    @ray.remote
    def make_actor():
        actor = Actor.remote()
        return actor, ray.get(actor.depths.remote())

    assert ray.get(chain.remote(3)) == [1, 2, 3, 4]
    actor, seen_by_task = ray.get(make_actor.remote())
    assert seen_by_task == (2, 2)
    assert ray.get(actor.depths.remote()) == (2, 1)  # a call counts from who makes it
    assert ray.get(actor.through_a_task.remote()) == [2]


def test_the_depth_of_what_a_thread_submits(cluster):
    @ray.remote
    def leaf():
        return depth()

    @ray.remote
    def from_a_thread():
        found = []
        thread = threading.Thread(target=lambda: found.append(ray.get(leaf.remote())))
        thread.start()
        thread.join()
        return found

    assert ray.get(from_a_thread.remote()) == [2]
