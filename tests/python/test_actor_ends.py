"""How actors end: by exit_actor(), sys.exit(), without handles; and what of them still runs then."""

import asyncio
import atexit
import os
import sys
import threading
import time

import pytest
import ray_engine as ray
from ray_engine.job_config import JobConfig

from tests.python.waiting import is_gone, wait_for


def exits(ref, match="exit_actor"):
    with pytest.raises(ray.exceptions.ActorDiedError, match=match):
        ray.get(ref, timeout=60)


def gone(pid):
    wait_for(lambda: is_gone(pid), f"the end of process {pid}")


def lines(path):
    return path.read_text().split() if path.exists() else []


class Swallows:
    """Whatever exit_actor() raises, its methods go on."""

    def by_method(self):
        try:
            ray.actor.exit_actor()
        except BaseException as error:
            return type(error).__name__

    def by_thread(self):
        thread = threading.Thread(target=self.by_method)
        thread.start()
        thread.join()
        return "thread"

    def pid(self):
        return os.getpid()


class SwallowsAsync(Swallows):
    async def by_method(self):
        return super().by_method()

    async def by_task(self):
        task = asyncio.create_task(self.by_method())
        await task
        return "task"


@pytest.mark.parametrize("threads", [1, 3])
def test_an_exit_cannot_be_swallowed(cluster, threads):
    actor = ray.remote(max_restarts=-1, max_concurrency=threads)(Swallows).remote()
    pid = ray.get(actor.pid.remote())
    exits(actor.by_method.remote())
    exits(actor.pid.remote())
    gone(pid)


@pytest.mark.parametrize("how", ["by_method", "by_task"])
def test_an_exit_of_an_async_actor_cannot_be_swallowed(cluster, how):
    actor = ray.remote(max_restarts=-1)(SwallowsAsync).remote()
    pid = ray.get(actor.pid.remote())
    left = getattr(actor, how).remote()
    exits(actor.pid.remote()) if how == "by_method" else gone(pid)
    if how == "by_method":
        exits(left)
    exits(actor.pid.remote())


def test_a_thread_can_end_its_actor(cluster):
    actor = ray.remote(Swallows).remote()
    pid = ray.get(actor.pid.remote())
    assert ray.get(actor.by_thread.remote()) == "thread"  # the method did not ask for it, so it is answered
    gone(pid)
    exits(actor.pid.remote())


def test_a_constructor_can_end_its_actor(cluster):
    @ray.remote(max_restarts=-1)
    class Short:
        def __init__(self):
            try:
                ray.actor.exit_actor()
            except SystemExit:
                pass

        def ping(self):
            return "here"

    exits(Short.remote().ping.remote())


def test_calls_behind_an_exit_do_not_run(cluster, tmp_path):
    @ray.remote
    class Last:
        def leave(self):
            ray.actor.exit_actor()

        def write(self, path):
            path.touch()

    actor = Last.remote()
    refs = [actor.leave.remote()] + [actor.write.remote(tmp_path / "written") for _ in range(20)]
    for ref in refs:
        exits(ref)
    assert not (tmp_path / "written").exists()


def test_exit_actor_is_for_actors(cluster):
    @ray.remote
    def task():
        ray.actor.exit_actor()

    with pytest.raises(TypeError, match="non-actor worker, worker"):
        ray.get(task.remote())
    with pytest.raises(TypeError, match="non-actor worker, driver"):
        ray.actor.exit_actor()


# ---- sys.exit() and retries -----------------------------------------------------------------------------------------


@ray.remote(max_restarts=-1, max_task_retries=-1)
class Leaves:
    def leave_once(self, path, code):
        if not path.exists():
            path.touch()
            sys.exit(code)
        return os.getpid()

    def pid(self):
        return os.getpid()


def test_a_failing_exit_code_is_a_crash(cluster, tmp_path):
    actor = Leaves.remote()
    before = ray.get(actor.pid.remote())
    assert ray.get(actor.leave_once.remote(tmp_path / "left", 3)) != before


def test_exit_code_0_is_an_intended_end(cluster, tmp_path):
    actor = Leaves.remote()
    exits(actor.leave_once.remote(tmp_path / "left", 0), "as intended: it called sys.exit")
    exits(actor.pid.remote(), "as intended")


def test_a_call_that_is_retried_goes_before_those_that_wait_for_it(cluster):
    @ray.remote
    class Fails:
        def __init__(self):
            self.calls = 0

        @ray.method(max_task_retries=1, retry_exceptions=True)
        def once(self):
            self.calls += 1
            if self.calls == 1:
                raise ValueError
            return self.calls

        def after(self, calls):
            return calls

    actor = Fails.remote()
    assert ray.get(actor.after.remote(actor.once.remote())) == 2


def test_keyboard_interrupt_counts_as_cancelled(cluster):
    @ray.remote
    def task():
        raise KeyboardInterrupt

    @ray.remote
    class Actor:
        def method(self):
            raise KeyboardInterrupt

    actor = Actor.remote()
    for ref in (task.remote(), actor.method.remote(), actor.method.remote()):
        with pytest.raises(ray.exceptions.TaskCancelledError):
            ray.get(ref)


# ---- __ray_shutdown__ -----------------------------------------------------------------------------------------------


class Tidy:
    def __init__(self, path, problem=None):
        self.path, self.problem = path, problem
        atexit.register(self.write, "atexit")

    def write(self, word):
        with open(self.path, "a") as file:
            file.write(word + "\n")

    def __ray_shutdown__(self):
        self.write("shutdown")
        self.write(ray.get(ray.put("still")))
        if self.problem:
            raise ValueError(self.problem)

    def leave(self):
        ray.actor.exit_actor()

    def ready(self):
        return os.getpid()


class TidyAsync(Tidy):
    async def leave(self):
        ray.actor.exit_actor()


@pytest.mark.parametrize("cls", [Tidy, TidyAsync])
@pytest.mark.parametrize("how", ["exit_actor", "__ray_terminate__", "out of scope"])
def test_the_last_act_comes_before_exit_functions(cluster, tmp_path, cls, how):
    actor = ray.remote(cls).remote(tmp_path / "log", "a problem that is only logged")
    ray.get(actor.ready.remote())
    if how == "exit_actor":
        exits(actor.leave.remote())
    elif how == "__ray_terminate__":
        exits(actor.__ray_terminate__.remote())
    del actor
    wait_for(lambda: lines(tmp_path / "log") == ["shutdown", "still", "atexit"])


def test_kill_leaves_no_time_for_a_last_act(cluster, tmp_path):
    actor = ray.remote(Tidy).remote(tmp_path / "log")
    pid = ray.get(actor.ready.remote())
    ray.kill(actor)
    gone(pid)
    assert lines(tmp_path / "log") == []


def test_a_last_act_without_end_is_cut_off(start, tmp_path):
    @ray.remote
    class Endless:
        def __ray_shutdown__(self):
            (tmp_path / "begun").touch()
            while True:
                time.sleep(1)

        def pid(self):
            return os.getpid()

    start(num_cpus=1, _system_config={"actor_graceful_shutdown_timeout_ms": 500})
    actor = Endless.remote()
    pid = ray.get(actor.pid.remote())
    del actor
    wait_for((tmp_path / "begun").exists)
    gone(pid)


def test_what_a_task_has_put_outlives_actors(start):
    """An actor gets no process that owns values of tasks: with its end they would be lost."""
    start(num_cpus=1)

    @ray.remote
    def put():
        return [ray.put(b"kept" * 100_000)]

    @ray.remote
    class Short:
        def ping(self):
            return os.getpid()

    (ref,) = ray.get(put.remote())
    for _ in range(3):
        short = Short.remote()
        pid = ray.get(short.ping.remote())
        del short
        gone(pid)
    assert ray.get(ref)[:4] == b"kept"


@pytest.mark.parametrize("given", [None, "detached", "non_detached"])
@pytest.mark.parametrize("default", ["detached", "non_detached"])
def test_the_lifetime_of_actors_without_one_is_the_jobs(start, default, given):
    start(num_cpus=2, job_config=JobConfig(default_actor_lifetime=default))

    @ray.remote(num_cpus=0)
    class Child:
        def ping(self):
            return "pong"

    @ray.remote(num_cpus=0)
    class Parent:
        def make(self):
            self.child = Child.options(**({"lifetime": given} if given else {})).remote()
            return self.child

    def alive(actor):
        try:
            return ray.get(actor.ping.remote()) == "pong"
        except ray.exceptions.RayActorError:
            return False

    parent = Parent.remote()
    child = ray.get(parent.make.remote())
    assert alive(child)
    ray.kill(parent)
    if (given or default) == "non_detached":
        wait_for(lambda: not alive(child), "the end of the child")
    else:
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(parent.make.remote())
        assert alive(child)


def test_terminate(counter_class):
    counter = counter_class.remote()
    pid = ray.get(counter.pid.remote())
    last = counter.add.remote()
    counter.__ray_terminate__.remote()
    assert ray.get(last) == 1
    gone(pid)


@pytest.mark.parametrize("how", ["exit_actor", "__ray_terminate__", "out of scope"])
def test_exit_functions_run_when_an_actor_ends_by_itself(cluster, tmp_path, how):
    @ray.remote
    class Tidy:
        def __init__(self):
            atexit.register(self.tidy)

        def tidy(self):
            time.sleep(0.1)  # longer than it would take to be killed
            (tmp_path / "tidied").write_text("")

        def leave(self):
            ray.actor.exit_actor()

    actor = Tidy.remote()
    ray.get(actor.__ray_ready__.remote())
    if how == "exit_actor":
        actor.leave.remote()
    elif how == "__ray_terminate__":
        actor.__ray_terminate__.remote()
    else:
        del actor
    wait_for((tmp_path / "tidied").exists)
