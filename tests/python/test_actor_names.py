"""Names of actors: given, found, taken; of the dead as long as somebody holds a handle."""

import gc
import os
import signal

import pytest
import ray_engine as ray

from tests.python.waiting import is_gone, wait_for

TAKEN = "already taken by an actor that is dead"


@ray.remote
class Named:
    def __init__(self, fail=False):
        if fail:
            raise RuntimeError("no such actor")

    def pid(self):
        return os.getpid()

    def leave(self):
        ray.actor.exit_actor()

    def crash(self):
        os.kill(os.getpid(), signal.SIGKILL)


@ray.remote
class Holder:
    """Keeps a handle in another process."""

    def __init__(self):
        self.handle = None

    def keep(self, handles):
        self.handle = handles and handles[0]


def dies(ref):
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(ref, timeout=60)


def new(name, **options):
    return Named.options(name=name, **options).remote()


def new_when_free(name):
    def create():
        try:
            return new(name)
        except ValueError:
            return None

    return wait_for(create, f"the name {name} becoming free")


def assert_held(name):
    with pytest.raises(ValueError, match=TAKEN):
        new(name)
    with pytest.raises(ValueError, match=TAKEN):
        new(name, get_if_exists=True)
    with pytest.raises(ValueError, match=name):
        ray.get_actor(name)
    assert name not in ray.util.list_named_actors()


def assert_works(actor, name):
    assert ray.get(actor.pid.remote(), timeout=60) > 0
    assert ray.get_actor(name) == actor


@pytest.mark.parametrize("end", ["leave", "crash"])
def test_a_handle_keeps_the_name_of_a_dead_actor(cluster, end):
    actor = new(end)
    dies(getattr(actor, end).remote())
    assert_held(end)
    del actor
    gc.collect()
    assert_works(new_when_free(end), end)


def test_a_handle_in_another_process_keeps_the_name(cluster):
    actor, holder = new("elsewhere"), Holder.remote()
    ray.get(holder.keep.remote([actor]), timeout=60)
    dies(actor.crash.remote())
    del actor
    gc.collect()
    assert_held("elsewhere")
    ray.get(holder.keep.remote([]), timeout=60)
    assert_works(new_when_free("elsewhere"), "elsewhere")


def test_a_failed_constructor_keeps_the_name(cluster):
    actor = Named.options(name="failed").remote(True)
    dies(actor.pid.remote())
    assert_held("failed")
    del actor
    gc.collect()
    assert_works(new_when_free("failed"), "failed")


def test_kill_gives_up_the_name_of_a_dead_actor(cluster):
    actor = new("killed")
    dies(actor.leave.remote())
    assert_held("killed")
    ray.kill(actor)
    assert_works(new("killed"), "killed")


def test_a_restarted_actor_keeps_its_name_until_it_may_not_restart(cluster):
    actor = new("restarted", max_restarts=1)
    first = ray.get(actor.pid.remote(), timeout=60)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.crash.remote(), timeout=60)

    def second():
        try:
            return ray.get(ray.get_actor("restarted").pid.remote(), timeout=60)
        except ray.exceptions.ActorUnavailableError:
            return None

    assert wait_for(second, "the restart") != first
    dies(actor.crash.remote())
    assert_held("restarted")


def test_a_detached_actor_takes_its_name_along(cluster):
    actor = new("detached, dead", lifetime="detached")
    dies(actor.crash.remote())
    again = new("detached, dead")
    assert_works(again, "detached, dead")
    assert again != actor


def test_the_name_goes_with_the_owner(cluster):
    @ray.remote
    class Owner:
        def make(self):
            self.actor = new("owned")
            return ray.get(self.actor.pid.remote())

        def crash_it(self):
            dies(self.actor.crash.remote())

    owner = Owner.remote()
    ray.get(owner.make.remote(), timeout=60)
    ray.get(owner.crash_it.remote(), timeout=60)
    assert_held("owned")
    ray.kill(owner)
    assert_works(new_when_free("owned"), "owned")


def test_a_named_actor_whose_argument_is_an_error(cluster):
    @ray.remote
    def fails():
        raise RuntimeError("no argument")

    actor = Named.options(name="no argument").remote(fails.remote())
    dies(actor.pid.remote())


# ---- of living actors ------------------------------------------------------------------------------------------------


def test_named_actors(counter_class):
    counter = counter_class.options(name="a counter").remote()
    assert ray.get(ray.get_actor("a counter").add.remote()) == 1
    assert ray.get_actor("a counter") == counter

    @ray.remote
    def use():
        return ray.get(ray.get_actor("a counter").add.remote())

    assert ray.get(use.remote()) == 2
    assert "a counter" in ray.util.list_named_actors()


def test_a_name_that_is_taken(counter_class):
    first = counter_class.options(name="taken").remote()
    with pytest.raises(ValueError, match="taken"):
        counter_class.options(name="taken").remote()
    again = counter_class.options(name="taken", get_if_exists=True).remote()
    assert again == first
    ray.kill(first)

    def free():
        try:
            return counter_class.options(name="taken").remote()
        except ValueError:
            return None

    assert ray.get(wait_for(free).add.remote()) == 1


def test_names_nobody_has(cluster):
    with pytest.raises(ValueError, match="nobody"):
        ray.get_actor("nobody")
    for name in ("", None, 3):
        with pytest.raises((ValueError, TypeError)):
            ray.get_actor(name)


def test_names_live_in_a_namespace(counter_class):
    here = counter_class.options(name="same").remote()
    there = counter_class.options(name="same", namespace="elsewhere").remote()
    assert here != there
    assert ray.get_actor("same") == here and ray.get_actor("same", namespace="elsewhere") == there
    names = ray.util.list_named_actors(all_namespaces=True)
    assert {"name": "same", "namespace": "elsewhere"} in names


def test_a_handle_found_by_name_is_weak(counter_class):
    counter = counter_class.options(name="weak").remote()
    pid = ray.get(counter.pid.remote())
    found = ray.get_actor("weak")
    del counter
    gc.collect()
    wait_for(lambda: is_gone(pid), "the end of the actor")
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(found.add.remote(), timeout=60)


def test_a_detached_actor_needs_no_handle(counter_class):
    pid = ray.get(counter_class.options(name="detached", lifetime="detached").remote().pid.remote())
    gc.collect()
    assert ray.get(ray.get_actor("detached").pid.remote()) == pid
    ray.kill(ray.get_actor("detached"))
    wait_for(lambda: is_gone(pid), "the end of the actor")
