"""What ps and top show of workers."""

import os

import psutil
import pytest
import ray_engine as ray

from tests.python.waiting import wait_for


def title(pid=None):
    return psutil.Process(pid).cmdline()[0]


def test_a_task_shows_its_name(cluster):
    @ray.remote
    def look():
        return title()

    assert ray.get(look.remote()).endswith("look")
    assert ray.get([look.options(name=name).remote() for name in "aab"]) == ["ray::a", "ray::a", "ray::b"]


def test_a_worker_without_work_says_so(cluster):
    @ray.remote
    def pid():
        return os.getpid()

    worker = psutil.Process(ray.get(pid.options(name="short").remote()))
    # It may be asked to end meanwhile, if there are many.
    wait_for(lambda: not worker.is_running() or worker.cmdline()[:1] == ["ray::IDLE"], "the idle title")


def test_an_actor_shows_its_class_and_method(cluster):
    @ray.remote
    class Clerk:
        def __init__(self):
            self.first = title()

        def titles(self):
            return self.first, title(), os.getpid()

        def fail(self):
            raise ValueError(title())

    clerk = Clerk.remote()
    first, second, pid = ray.get(clerk.titles.remote())
    assert (first, second) == ("ray::Clerk.__init__", "ray::Clerk.titles")
    wait_for(lambda: title(pid) == "ray::Clerk", "the title of an actor that waits")
    assert ray.get(clerk.titles.options(name="fail").remote())[1] == "ray::fail"
    with pytest.raises(ValueError, match="ray::Clerk.fail"):
        ray.get(clerk.fail.remote())


@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}])
def test_a_busy_actor_does_not_look_idle(cluster, gate, options):
    @ray.remote
    class Busy:
        def pid(self):
            return os.getpid()

        def work(self):
            gate.pass_through()

    busy = Busy.options(**options).remote()
    pid = ray.get(busy.pid.remote())
    working = busy.work.remote()
    gate.wait_for_arrival()
    seen = [title(pid) for _ in range(1000)]
    gate.open()
    ray.get(working)
    assert set(seen) == {"ray::Busy.work"}


def test_an_actor_with_coroutines_shows_the_call_that_began_last(cluster):
    @ray.remote
    class Async:
        async def look(self):
            return title()

    assert ray.get(Async.remote().look.remote()) == "ray::Async.look"


def test_long_and_strange_names(cluster):
    @ray.remote
    def look():
        return title()

    for name in ("x" * 300, "größe" * 60, "two words"):
        assert ray.get(look.options(name=name).remote()).startswith(f"ray::{name[:60]}")


def test_the_environment_behind_the_title_is_left_alone(cluster):
    @ray.remote
    def environment():
        return open("/proc/self/environ", "rb").read().split(b"\0")

    assert f"PATH={os.environ['PATH']}".encode() in ray.get(environment.options(name="x" * 250).remote())


def test_the_name_given_to_a_call_is_the_tasks_name(cluster):
    @ray.remote
    class Actor:
        def name(self):
            return ray.get_runtime_context().get_task_name()

    actor = Actor.remote()
    assert ray.get([actor.name.remote(), actor.name.options(name="given").remote()]) == ["Actor.name", "given"]
