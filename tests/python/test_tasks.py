"""Remote functions: arguments, results, options, reuse of workers."""

import os
import sys
import time

import pytest
import ray_engine as ray

from tests.python.waiting import wait_for


def test_runs_in_another_process(cluster):
    @ray.remote
    def where():
        return os.getpid()

    assert ray.get(where.remote()) != os.getpid()


def test_the_function_itself_stays_reachable(cluster):
    @ray.remote
    def f(x):
        return 2 * x

    assert f._function(4) == 8
    assert f.__name__ == "f"


@pytest.mark.parametrize(
    "args, kwargs",
    [((1,), {}), ((1, 2), {}), ((1,), {"b": 5}), ((), {"a": 7}), ((1, 2, 3, 4), {"x": 5, "y": [6]})],
)
def test_arguments_arrive_as_in_a_call(cluster, args, kwargs):
    def f(a, b=10, *rest, **named):
        return a, b, rest, named

    assert ray.get(ray.remote(f).remote(*args, **kwargs)) == f(*args, **kwargs)


@pytest.mark.parametrize("args, kwargs", [((), {}), ((1, 2, 3), {}), ((1,), {"c": 2}), ((1,), {"a": 2})])
def test_wrong_arguments_are_refused_at_the_call(cluster, args, kwargs):
    @ray.remote
    def f(a, b=1):
        return a + b

    with pytest.raises(TypeError):
        f.remote(*args, **kwargs)


def test_arguments_are_copies(cluster):
    @ray.remote
    def change(values):
        values.append(4)
        return values

    values = [1, 2, 3]
    assert ray.get(change.remote(values)) == [1, 2, 3, 4]
    assert values == [1, 2, 3]


def test_results(cluster):
    @ray.remote
    def f():
        return 1, 2, 3

    assert ray.get(f.remote()) == (1, 2, 3)
    assert f.options(num_returns=0).remote() is None
    assert ray.get(f.options(num_returns=1).remote()) == (1, 2, 3)
    refs = f.options(num_returns=3).remote()
    assert isinstance(refs, list) and ray.get(refs) == [1, 2, 3]


def test_wrong_number_of_results(cluster):
    @ray.remote(num_returns=2)
    def f():
        return 1, 2, 3

    for ref in f.remote():
        with pytest.raises(ValueError):
            ray.get(ref)


def test_reference_as_argument_arrives_as_value(cluster):
    @ray.remote
    def add(a, b=0):
        return a + b

    three = add.remote(1, 2)
    assert ray.get(add.remote(three, b=ray.put(4))) == 7


def test_reference_inside_a_value_arrives_as_reference(cluster):
    @ray.remote
    def f(values, named):
        assert all(isinstance(ref, ray.ObjectRef) for ref in [*values, named["x"]])
        return sum(ray.get(values)) + ray.get(named["x"])

    assert ray.get(f.remote([ray.put(1), ray.put(2)], {"x": ray.put(3)})) == 6


def test_returned_reference(cluster):
    @ray.remote
    def make():
        return [ray.put("inner")]

    (inner,) = ray.get(make.remote())
    assert ray.get(inner) == "inner"


def test_chain_of_dependent_tasks(cluster):
    @ray.remote
    def add_one(x):
        return x + 1

    ref = ray.put(0)
    for _ in range(200):
        ref = add_one.remote(ref)
    assert ray.get(ref) == 200


def test_tree_of_dependent_tasks(cluster):
    @ray.remote
    def add(*values):
        return sum(values)

    level = [ray.put(i) for i in range(64)]
    while len(level) > 1:
        level = [add.remote(*level[i : i + 4]) for i in range(0, len(level), 4)]
    assert ray.get(level[0]) == sum(range(64))


def test_thousands_of_tasks(cluster):
    @ray.remote
    def square(x):
        return x * x

    assert ray.get([square.remote(i) for i in range(5000)]) == [i * i for i in range(5000)]


@pytest.mark.parametrize("size", [0, 1, 1000, 16 * 1024, 100 * 1024 - 1, 100 * 1024 + 1, 3_000_000])
def test_arguments_and_results_of_any_size(cluster, size):
    @ray.remote
    def echo(data):
        return data

    data = os.urandom(size)
    assert ray.get(echo.remote(data)) == data
    assert ray.get(echo.remote(ray.put(data))) == data


def test_many_arguments(cluster):
    @ray.remote
    def total(*values):
        return sum(values)

    assert ray.get(total.remote(*[ray.put(i) for i in range(300)])) == sum(range(300))


def test_closures_and_lambdas(cluster):
    base = 100

    @ray.remote
    def outer(x):
        def inner(y):
            return base + x + y

        return inner

    assert ray.get(outer.remote(10))(1) == 111
    assert ray.get(ray.remote(lambda x: x + base).remote(1)) == 101


def test_recursion_and_mutual_recursion(cluster):
    @ray.remote
    def factorial(n):
        return 1 if n == 0 else n * ray.get(factorial.remote(n - 1))

    @ray.remote
    def is_even(n):
        return True if n == 0 else ray.get(is_odd.remote(n - 1))

    @ray.remote
    def is_odd(n):
        return False if n == 0 else ray.get(is_even.remote(n - 1))

    assert ray.get(factorial.remote(6)) == 720
    assert ray.get(is_even.remote(7)) is False


def test_functions_can_be_passed(cluster):
    @ray.remote
    def call(function, x):
        return ray.get(function.remote(x))

    @ray.remote
    def double(x):
        return 2 * x

    assert ray.get(call.remote(double, 21)) == 42


def test_large_closure(cluster):
    table = bytes(range(256)) * 10_000

    @ray.remote
    def f(i):
        return table[i]

    assert ray.get([f.remote(i) for i in (0, 255, 300)]) == [0, 255, 44]


def test_options_leave_the_function_as_it_was(cluster):
    @ray.remote
    def f():
        return 1, 2

    two = f.options(num_returns=2, name="two", num_cpus=0)
    assert len(two.remote()) == 2
    assert isinstance(f.remote(), ray.ObjectRef)
    assert ray.get(f._remote(args=[], kwargs={}, num_returns=2)) == [1, 2]


def test_decorator_with_options(cluster):
    @ray.remote(num_cpus=0.5, num_returns=2, max_retries=0)
    def f():
        return "a", "b"

    assert ray.get(f.remote()) == ["a", "b"]


def test_workers_are_reused(cluster):
    @ray.remote
    def where():
        return os.getpid()

    pids = {ray.get(where.remote()) for _ in range(50)}
    assert len(pids) <= 4


def test_worker_sees_the_drivers_folder_and_path(cluster, tmp_path, monkeypatch):
    @ray.remote
    def look():
        return os.getcwd(), list(sys.path)

    folder, path = ray.get(look.remote())
    assert folder == os.getcwd()
    assert {entry for entry in sys.path if entry} <= set(path) | {os.getcwd()}


def test_workers_draw_different_random_numbers(cluster, gate):
    @ray.remote
    def draw(gate, who, others):
        import random

        import numpy

        gate.arrive(who)
        for other in others:
            gate.wait_for_arrival(other)  # all of them at once, so in different processes
        return random.random(), float(numpy.random.random()), os.getpid()

    names = ["a", "b"]
    first, second = ray.get([draw.remote(gate, name, names) for name in names])
    assert first[2] != second[2]
    assert first[0] != second[0] and first[1] != second[1]


def test_standard_modules_keep_working_in_a_worker(cluster):
    @ray.remote
    def f():
        import subprocess
        import threading

        values = []
        thread = threading.Thread(target=lambda: values.append(1))
        thread.start()
        thread.join()
        text = subprocess.run(["echo", "hello"], capture_output=True, text=True, check=True).stdout
        return values, text

    assert ray.get(f.remote()) == ([1], "hello\n")


def test_task_started_by_a_task_is_owned_by_it(cluster):
    """A reference made by a task that has ended, and that nobody was given, is gone; one that was given out lives."""

    @ray.remote
    def inner(x):
        return x * 2

    @ray.remote
    def outer():
        return [inner.remote(i) for i in range(5)]

    assert ray.get(ray.get(outer.remote())) == [0, 2, 4, 6, 8]


def test_bursts_lose_no_worker(cluster):
    """A worker gives back queued tasks while it takes the next one; max_retries=0 shows every worker that dies."""

    @ray.remote(max_retries=0)
    def same(i):
        return i

    for pause in [0, 0.01, 0.03, 0.1] * 3:
        assert ray.get([same.remote(i) for i in range(10_000)]) == list(range(10_000))
        time.sleep(pause)  # longer than an idle lease lives, or shorter


def test_max_calls(start):
    start(num_cpus=1)

    @ray.remote(max_calls=1)
    def once():
        return os.getpid()

    @ray.remote(max_calls=3)
    def three_times():
        return os.getpid()

    pids = [ray.get(once.remote()) for _ in range(4)]
    assert len(set(pids)) == 4
    many = ray.get([three_times.remote() for _ in range(9)])
    assert max(many.count(pid) for pid in many) <= 3
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids + many))


def test_max_calls_hold_whatever_the_options(start):
    start(num_cpus=1)

    @ray.remote(max_calls=1)
    def once():
        return os.getpid()

    pids = [ray.get(once.options(name=f"call {i}").remote()) for i in range(3)]
    assert len(set(pids)) == 3


def test_a_function_with_options_starts_the_engine_when_it_is_called(start):
    remote = ray.remote(lambda: 5).options(num_cpus=1).remote
    assert not ray.is_initialized()
    assert ray.get(remote()) == 5
    assert ray.get(remote()) == 5


def test_the_exit_code_of_a_worker_is_told(cluster):
    @ray.remote(max_retries=0)
    def leaves():
        sys.exit(3)

    with pytest.raises(ray.exceptions.WorkerCrashedError, match="code 3"):
        ray.get(leaves.remote())
