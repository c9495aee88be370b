"""Remote classes: state, order, handles, resources and concurrency."""

import gc
import os
import threading
import time

import pytest
import ray_engine as ray

from tests.python.waiting import is_gone, overlap, wait_for

DEAD = ray.exceptions.RayActorError


def test_state_lives_between_calls(counter_class):
    first, second = counter_class.remote(), counter_class.remote(10)
    assert ray.get([first.add.remote() for _ in range(5)]) == [1, 2, 3, 4, 5]
    assert ray.get(second.add.remote(k=5)) == 15
    assert len({*ray.get([first.pid.remote(), second.pid.remote()]), os.getpid()}) == 3


def test_calls_of_one_caller_run_in_order(cluster):
    @ray.remote
    class Log:
        def __init__(self):
            self.seen = []

        def note(self, i):
            self.seen.append(i)

        def all(self):
            return self.seen

    log = Log.remote()
    for i in range(2000):
        log.note.remote(i)
    assert ray.get(log.all.remote()) == list(range(2000))


def test_calls_wait_for_their_arguments_in_order(cluster, gate):
    """A call whose argument is not there yet is not overtaken by the next one of the same caller."""

    @ray.remote(num_cpus=0)
    def late(gate):
        gate.pass_through()
        return "late"

    @ray.remote
    class Log:
        def __init__(self):
            self.seen = []

        def note(self, value):
            self.seen.append(value)
            return list(self.seen)

    log = Log.remote()
    log.note.remote(late.remote(gate))
    last = log.note.remote("early")
    gate.wait_for_arrival()
    assert ray.wait([last], timeout=0.5) == ([], [last])
    gate.open()
    assert ray.get(last, timeout=60) == ["late", "early"]


def test_each_caller_has_its_own_order(counter_class):
    @ray.remote
    def call(counter, n):
        return ray.get([counter.add.remote() for _ in range(n)])

    counter = counter_class.remote()
    sequences = ray.get([call.remote(counter, 100) for _ in range(4)])
    assert all(sequence == sorted(sequence) for sequence in sequences)
    assert sorted(sum(sequences, [])) == list(range(1, 401))


def test_errors_of_methods(counter_class):
    counter = counter_class.remote()
    with pytest.raises(ValueError, match="from an actor") as caught:
        ray.get(counter.fail.remote())
    assert isinstance(caught.value, ray.exceptions.RayTaskError)
    assert ray.get(counter.add.remote()) == 1


def test_errors_of_init(cluster):
    @ray.remote
    class Broken:
        def __init__(self):
            raise ValueError("cannot start")

        def f(self):
            return 1

    actor = Broken.remote()
    for _ in range(2):
        with pytest.raises(ray.exceptions.ActorDiedError, match="cannot start"):
            ray.get(actor.f.remote(), timeout=60)


def test_arguments_of_init_may_be_references(counter_class):
    @ray.remote
    def ten():
        return 10

    assert ray.get(counter_class.remote(ten.remote()).add.remote()) == 11


def test_a_failed_argument_of_init_ends_the_actor(counter_class):
    @ray.remote
    def fail():
        raise ValueError("no start value")

    with pytest.raises(ray.exceptions.RayError):
        ray.get(counter_class.remote(fail.remote()).add.remote(), timeout=60)


def test_wrong_arguments_are_refused_at_the_call(counter_class):
    with pytest.raises(TypeError):
        counter_class.remote(1, 2, 3)
    counter = counter_class.remote()
    with pytest.raises(TypeError):
        counter.add.remote(1, 2, 3)
    with pytest.raises(AttributeError):
        counter.no_such_method  # noqa: B018


def test_several_results(cluster):
    @ray.remote
    class Pair:
        @ray.method(num_returns=2)
        def two(self):
            return 1, 2

        def three(self):
            return 1, 2, 3

    pair = Pair.remote()
    assert ray.get(pair.two.remote()) == [1, 2]
    assert ray.get(pair.three.options(num_returns=3).remote()) == [1, 2, 3]
    assert ray.get(pair.three.remote()) == (1, 2, 3)


def test_inheritance_and_class_members(cluster):
    class Base:
        shared = [1]

        def __init__(self, name):
            self.name = name

        def hello(self):
            return f"{type(self).__name__} {self.name}"

        @staticmethod
        def double(x):
            return 2 * x

        @classmethod
        def kind(cls):
            return cls.__name__

        @property
        def upper(self):
            return self.name.upper()

        def read_upper(self):
            return self.upper

    @ray.remote
    class Derived(Base):
        def hello(self):
            return "derived " + super().hello()

    actor = Derived.remote("x")
    calls = [actor.hello.remote(), actor.double.remote(4), actor.kind.remote(), actor.read_upper.remote()]
    assert ray.get(calls) == ["derived Derived x", 8, "Derived", "X"]


def test_a_class_without_init(cluster):
    @ray.remote
    class Bare:
        def f(self):
            return 1

    assert ray.get(Bare.remote().f.remote()) == 1
    assert ray.get(ray.remote(num_cpus=0)(type("Made", (), {"g": lambda self: 2})).remote().g.remote()) == 2


# ---- handles ---------------------------------------------------------------------------------------------------------


def test_handles_travel(counter_class):
    @ray.remote
    def use(counter):
        return ray.get(counter.add.remote())

    @ray.remote
    def use_inside(values):
        return ray.get(values["counter"].add.remote())

    @ray.remote
    def give_back(counter):
        return [counter]

    counter = counter_class.remote()
    assert ray.get(use.remote(counter)) == 1
    assert ray.get(use_inside.remote({"counter": counter})) == 2
    (same,) = ray.get(give_back.remote(counter))
    assert same == counter and hash(same) == hash(counter)
    assert ray.get(same.add.remote()) == 3
    assert ray.get(ray.get(ray.put([counter]))[0].add.remote()) == 4


def test_actors_hold_handles(counter_class):
    @ray.remote
    class Forward:
        def __init__(self, target):
            self.target = target

        def add(self):
            return ray.get(self.target.add.remote())

    assert ray.get(Forward.remote(counter_class.remote()).add.remote()) == 1


def test_an_actor_made_by_a_task_lives_through_its_handle(counter_class):
    @ray.remote
    class Maker:
        def __init__(self):
            self.made = counter_class.remote()

        def get(self):
            return self.made

    maker = Maker.remote()
    counter = ray.get(maker.get.remote())
    assert ray.get([counter.add.remote(), counter.add.remote()]) == [1, 2]


def test_an_actor_knows_itself(cluster):
    @ray.remote
    class Selfish:
        def __init__(self):
            self.n = 7

        def me(self):
            return ray.get_runtime_context().current_actor

        def value(self):
            return self.n

    actor = Selfish.remote()
    me = ray.get(actor.me.remote())
    assert me == actor and ray.get(me.value.remote()) == 7


def test_the_last_handle_ends_the_actor(counter_class):
    counter = counter_class.remote()
    pid = ray.get(counter.pid.remote())
    copies = [counter, ray.get(ray.put([counter]))[0]]
    del counter
    gc.collect()
    assert not is_gone(pid)
    del copies
    gc.collect()
    wait_for(lambda: is_gone(pid), "the end of the actor")


def test_calls_made_before_the_last_handle_went_are_done(counter_class, tmp_path):
    @ray.remote
    class Writer:
        def write(self, path, text):
            time.sleep(0.1)
            with open(path, "a") as file:
                file.write(text)
            return text

    path = str(tmp_path / "out")
    writer = Writer.remote()
    refs = [writer.write.remote(path, text) for text in "abc"]
    del writer
    gc.collect()
    assert ray.get(refs, timeout=60) == ["a", "b", "c"]


def test_a_handle_in_a_task_keeps_the_actor(counter_class, gate):
    @ray.remote
    def use_later(counter, gate):
        gate.pass_through()
        return ray.get(counter.add.remote())

    counter = counter_class.remote()
    result = use_later.remote(counter, gate)
    gate.wait_for_arrival()
    del counter
    gc.collect()
    gate.open()
    assert ray.get(result, timeout=60) == 1


# ---- resources and concurrency ---------------------------------------------------------------------------------------


def test_more_actors_than_cpus(start):
    """An actor for which nothing was asked needs a CPU to be placed, and none to live."""
    start(num_cpus=2)

    @ray.remote
    class Idle:
        def pid(self):
            return os.getpid()

    actors = [Idle.remote() for _ in range(8)]
    assert len(set(ray.get([actor.pid.remote() for actor in actors], timeout=120))) == 8


def test_a_cpu_asked_for_is_kept(start):
    start(num_cpus=2)

    @ray.remote(num_cpus=1)
    class Holder:
        def f(self):
            return 1

    actors = [Holder.remote() for _ in range(2)]
    assert ray.get([actor.f.remote() for actor in actors], timeout=60) == [1, 1]
    assert "CPU" not in ray.available_resources()
    third = Holder.remote()
    waiting = third.f.remote()
    assert ray.wait([waiting], timeout=0.5) == ([], [waiting])
    del actors[0]
    gc.collect()
    assert ray.get(waiting, timeout=60) == 1


def test_actors_run_at_once(start):
    start(num_cpus=2)

    @ray.remote
    class Worker:
        def ready(self):
            return True

        def work(self):
            begin = time.time()
            time.sleep(0.5)
            return begin, time.time()

    workers = [Worker.remote() for _ in range(2)]
    ray.get([worker.ready.remote() for worker in workers])
    assert overlap(ray.get([worker.work.remote() for worker in workers]))


def test_one_call_at_a_time(counter_class):
    @ray.remote
    class Worker:
        def work(self):
            begin = time.time()
            time.sleep(0.05)
            return begin, time.time()

    worker = Worker.remote()
    first, second = ray.get([worker.work.remote() for _ in range(2)])
    assert not overlap([first, second])


def test_several_calls_at_once_if_asked(cluster, gate):
    @ray.remote(max_concurrency=4)
    class Many:
        def meet(self, gate, who, others):
            gate.arrive(who)
            for other in others:
                gate.wait_for_arrival(other)
            return threading.get_ident()

    names = list("abcd")
    many = Many.remote()
    assert len(set(ray.get([many.meet.remote(gate, name, names) for name in names], timeout=60))) == 4


def test_async_methods(cluster):
    @ray.remote
    class Signal:
        def __init__(self):
            import asyncio

            self.event = asyncio.Event()

        async def wait(self):
            await self.event.wait()
            return "go"

        async def send(self):
            self.event.set()

    signal = Signal.remote()
    waiting = [signal.wait.remote() for _ in range(10)]
    assert ray.wait(waiting, timeout=0.2)[0] == []
    ray.get(signal.send.remote())
    assert ray.get(waiting, timeout=60) == ["go"] * 10


def test_an_actor_that_waits_for_another(counter_class, gate):
    @ray.remote
    class Waiter:
        def wait(self, refs):
            return ray.get(refs[0])

    counter, waiter = counter_class.remote(5), Waiter.remote()
    waiting = waiter.wait.remote([counter.hold.remote(gate)])
    gate.wait_for_arrival()
    gate.open()
    assert ray.get(waiting, timeout=60) == 5


def test_ready_and_call_with_a_function(counter_class):
    counter = counter_class.remote(3)
    assert ray.get(counter.__ray_ready__.remote()) is True
    assert ray.get(counter.__ray_call__.remote(lambda self, k: self.n + k, 4)) == 7


def test_a_method_is_found_though_the_instance_has_something_else_of_that_name(cluster):
    @ray.remote
    class Counter:
        def __init__(self):
            self.value = 3
            self.twice = lambda: "hidden"

        def value(self):
            return self.value

        @staticmethod
        def twice(number):
            return 2 * number

        @classmethod
        def name(cls):
            return cls.__name__

    counter = Counter.remote()
    assert ray.get([counter.value.remote(), counter.twice.remote(2), counter.name.remote()]) == [3, 4, "Counter"]


def test_an_actor_keeps_its_cpu_while_it_waits(start):
    start(num_cpus=1)

    @ray.remote
    def one():
        return 1

    @ray.remote
    class Waiter:
        def wait(self):
            return ray.get(one.remote())

    assert ray.get(Waiter.remote().wait.remote()) == 1  # it has none
    keeping = Waiter.options(num_cpus=1).remote()
    waiting = keeping.wait.remote()
    assert ray.wait([waiting], timeout=0.5)[0] == []
    ray.kill(keeping)
    assert ray.get(one.remote()) == 1
