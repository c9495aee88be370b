"""Actors that are killed or crash, and start again if they may."""

import os

import pytest
import ray_engine as ray

from tests.python.waiting import is_gone, wait_for

DEAD = ray.exceptions.RayActorError


def test_kill(counter_class, gate):
    counter = counter_class.remote()
    pid = ray.get(counter.pid.remote())
    running = counter.hold.remote(gate)
    queued = counter.add.remote()
    gate.wait_for_arrival()
    ray.kill(counter)
    for ref in (running, queued, counter.add.remote()):
        with pytest.raises(DEAD):
            ray.get(ref, timeout=60)
    wait_for(lambda: is_gone(pid), "the end of the actor")


def test_kill_takes_handles_only(cluster):
    for value in (1, "x", None, ray.put(1)):
        with pytest.raises(ValueError):
            ray.kill(value)


def test_killing_the_dead(counter_class):
    counter = counter_class.remote()
    for _ in range(2):
        ray.kill(counter)
    with pytest.raises(DEAD):
        ray.get(counter.add.remote(), timeout=60)


def test_an_actor_that_crashes(counter_class):
    @ray.remote
    class Crash:
        def crash(self):
            os._exit(9)

        def f(self):
            return 1

    actor = Crash.remote()
    assert ray.get(actor.f.remote()) == 1
    for call in (actor.crash, actor.f):
        with pytest.raises(DEAD):
            ray.get(call.remote(), timeout=60)


def test_an_actor_that_leaves(cluster):
    @ray.remote
    class Leaver:
        def leave(self):
            ray.actor.exit_actor()

        def pid(self):
            return os.getpid()

    actor = Leaver.remote()
    pid = ray.get(actor.pid.remote())
    with pytest.raises(DEAD):
        ray.get(actor.leave.remote(), timeout=60)
    wait_for(lambda: is_gone(pid), "the end of the actor")
    with pytest.raises(DEAD):
        ray.get(actor.pid.remote(), timeout=60)


def test_restarts(cluster):
    @ray.remote(max_restarts=1)
    class Phoenix:
        def __init__(self):
            self.n = 0

        def add(self):
            self.n += 1
            return self.n

        def pid(self):
            return os.getpid()

    actor = Phoenix.remote()
    assert ray.get([actor.add.remote(), actor.add.remote()]) == [1, 2]
    first = ray.get(actor.pid.remote())
    os.kill(first, 9)

    def risen():
        try:
            return ray.get(actor.pid.remote(), timeout=60) != first
        except DEAD:
            return False

    wait_for(risen, "the restart")
    assert ray.get(actor.add.remote()) == 1
    os.kill(ray.get(actor.pid.remote()), 9)

    def dead_for_good():
        try:
            ray.get(actor.pid.remote(), timeout=60)
        except ray.exceptions.ActorDiedError:
            return True
        except DEAD:
            return False
        return False

    wait_for(dead_for_good, "the end")


def test_calls_can_be_tried_again(cluster, tmp_path):
    @ray.remote(max_restarts=-1, max_task_retries=-1)
    class Stubborn:
        def die_once(self, folder):
            mark = os.path.join(folder, "died")
            if not os.path.exists(mark):
                open(mark, "w").close()
                os._exit(1)
            return "done"

    assert ray.get(Stubborn.remote().die_once.remote(str(tmp_path)), timeout=60) == "done"


def test_an_actor_ends_with_the_one_that_made_it(counter_class):
    @ray.remote
    class Parent:
        def make(self):
            self.child = counter_class.remote()
            return self.child, ray.get(self.child.pid.remote())

    parent = Parent.remote()
    child, pid = ray.get(parent.make.remote())
    ray.kill(parent)
    wait_for(lambda: is_gone(pid), "the end of the child")
    with pytest.raises(DEAD):
        ray.get(child.add.remote(), timeout=60)
