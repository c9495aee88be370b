"""Wrong use gives a clear error at once, and Ray's own kind of error."""

import pytest
import ray_engine as ray


@ray.remote
def function(x=1):
    return x


@ray.remote
class Actor:
    def method(self):
        return 1


@pytest.fixture(autouse=True)
def engine(cluster):
    return cluster


def test_calling_directly():
    with pytest.raises(TypeError, match="remote"):
        function()
    with pytest.raises(TypeError, match="remote"):
        Actor()
    actor = Actor.remote()
    with pytest.raises(TypeError, match="remote"):
        actor.method()


@pytest.mark.parametrize(
    "options",
    [{"no_such_option": 1}, {"max_restarts": 1}, {"num_cpus": -1}, {"num_returns": -1}, {"max_retries": -2},
     {"resources": {"CPU": 1}}, {"resources": {"GPU": 1}}, {"num_gpus": 1.5}, {"scheduling_strategy": "WRONG"},
     {"max_calls": -1}],
)  # fmt: skip
def test_wrong_values_of_task_options(options):
    with pytest.raises(ValueError):
        ray.remote(**options)(lambda: 1).remote()


@pytest.mark.parametrize(
    "options",
    [{"num_cpus": "1"}, {"num_returns": 1.5}, {"resources": [1]}, {"name": 3}, {"runtime_env": "x"},
     {"max_retries": "3"},
     {"retry_exceptions": "yes"}],
)  # fmt: skip
def test_wrong_types_of_task_options(options):
    with pytest.raises(TypeError):
        ray.remote(**options)(lambda: 1)
    with pytest.raises(TypeError):
        function.options(**options)


@pytest.mark.parametrize(
    "options",
    [{"no_such_option": 1}, {"max_retries": 1}, {"num_returns": 2}, {"num_cpus": -1}, {"max_restarts": -2},
     {"lifetime": "eternal"},
     {"max_concurrency": -1}, {"get_if_exists": True}],
)  # fmt: skip
def test_wrong_values_of_actor_options(options):
    with pytest.raises(ValueError):
        Actor.options(**options).remote()


@pytest.mark.parametrize(
    "options", [{"name": 1}, {"num_cpus": "x"}, {"max_restarts": 1.5}, {"namespace": 4}, {"resources": "x"}]
)
def test_wrong_types_of_actor_options(options):
    with pytest.raises(TypeError):
        Actor.options(**options).remote()


def test_names_and_namespaces_must_not_be_empty():
    for options in ({"name": ""}, {"name": "x", "namespace": ""}):
        with pytest.raises(ValueError):
            Actor.options(**options).remote()


def test_max_calls_is_for_the_decorator():
    with pytest.raises(ValueError):
        function.options(max_calls=1)


def test_what_cannot_be_remote():
    with pytest.raises((TypeError, AssertionError)):
        ray.remote(3)
    with pytest.raises((TypeError, AssertionError)):
        ray.remote(1, 2)
    with pytest.raises(TypeError):
        ray.remote(num_cpus=1)(5)


def test_actor_classes_cannot_be_derived_from():
    with pytest.raises(TypeError):

        class Derived(Actor):
            pass


def test_a_definition_that_captures_too_much():
    captured = bytearray(10**8)

    @ray.remote
    def large():
        return len(captured)

    @ray.remote
    class Large:
        def size(self):
            return len(captured)

    with pytest.raises(ValueError, match="The remote function large is too large .*put()"):
        large.remote()
    with pytest.raises(ValueError, match="The actor Large is too large"):
        Large.remote()


def test_dir_shows_what_can_be_called():
    def public(names):
        return {name for name in names if not name.startswith("_")}

    assert public(dir(Actor)) == {"bind", "method", "options", "remote"}
    assert public(dir(Actor.remote())) == {"method"}


def test_streams_are_for_generators():
    with pytest.raises(ValueError, match="generator"):
        function.options(num_returns="streaming").remote()


def test_wrong_arguments_of_init():
    for arguments in ({"num_cpus": -1}, {"num_cpus": "two"}, {"resources": {"CPU": 1}}, {"object_store_memory": -5}):
        with pytest.raises((ValueError, TypeError, RuntimeError)):
            ray.init("local", **arguments)


def test_after_all_that_it_still_works():
    assert ray.get(function.remote(5)) == 5
    assert ray.get(Actor.remote().method.remote()) == 1
