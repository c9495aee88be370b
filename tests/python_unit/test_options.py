"""Options of tasks and actors: what is accepted, what is refused and with which words."""

import pytest
import ray_engine as ray
from ray_engine._private import options, requests
from ray_engine.util.placement_group import PlacementGroup
from ray_engine.util.scheduling_strategies import (
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)


def f():
    pass


class A:
    pass


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"frobnicate": 1}, ValueError, "Invalid option keyword frobnicate for remote functions"),
        ({"max_restarts": 1}, ValueError, "Invalid option keyword max_restarts"),
        ({"num_cpus": "1"}, TypeError, "The type of keyword 'num_cpus' must be"),
        ({"num_cpus": -1}, ValueError, "The quantity of resource num_cpus cannot be negative"),
        ({"num_cpus": 0.00001}, ValueError, "cannot go beyond 0.0001"),
        ({"resources": {"TPU": 3}}, ValueError, "not a supported chip configuration"),
        ({"resources": {"neuron_cores": 0.5}}, ValueError, "must be whole numbers"),
        ({"num_returns": -1}, ValueError, "'num_returns' only accepts"),
        ({"num_returns": 65536}, ValueError, "65535 at most"),
        ({"num_returns": "many"}, ValueError, "'num_returns' only accepts"),
        ({"num_returns": "streaming"}, ValueError, "can only be used with generator functions"),
        ({"max_retries": -2}, ValueError, "'max_retries' only accepts None, 0, -1 or a positive integer"),
        ({"max_calls": -1}, ValueError, "'max_calls' only accepts None, 0 or a positive integer"),
        ({"retry_exceptions": [int]}, ValueError, "retry_exceptions must be either a boolean or a list of exceptions"),
        ({"resources": {"CPU": 1}}, ValueError, "Use the 'num_cpus' and 'num_gpus' keyword"),
        ({"resources": {"x": -1}}, ValueError, "cannot be negative"),
        ({"resources": [1]}, TypeError, "The type of keyword 'resources' must be"),
        ({"object_store_memory": 1}, ValueError, "not implemented for tasks"),
        ({"scheduling_strategy": "FAR"}, ValueError, "Invalid scheduling strategy 'FAR'"),
        ({"scheduling_strategy": 3}, TypeError, "scheduling_strategy"),
        ({"label_selector": {"a": "in("}}, ValueError, "Invalid label selector value"),
        ({"_generator_backpressure_num_objects": 0}, ValueError, "backpressure_num_objects=0 is not allowed"),
    ],
)
def test_task_options_refused(given, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        ray.remote(**given)(f)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"max_retries": 1}, ValueError, "Invalid option keyword max_retries for actors"),
        ({"lifetime": "long"}, ValueError, "actor `lifetime` argument must be one of"),
        ({"max_concurrency": -1}, ValueError, "'max_concurrency' only accepts"),
        ({"get_if_exists": True}, ValueError, "The actor name must be specified"),
        ({"name": 3}, TypeError, "The type of keyword 'name'"),
    ],
)
def test_actor_options_refused(given, error, words):
    with pytest.raises(error, match=words):
        ray.remote(**given)(A)


def test_what_options_does_not_take():
    with pytest.raises(ValueError, match="'max_calls' is not supported in '.options"):
        ray.remote(f).options(max_calls=1)
    with pytest.raises(ValueError, match="'concurrency_groups' is not supported in '.options"):
        ray.remote(A).options(concurrency_groups={"io": 1})


def test_decorator_misused():
    with pytest.raises(AssertionError, match="must be applied either with no arguments"):
        ray.remote()
    with pytest.raises(AssertionError, match="must be applied either with no arguments"):
        ray.remote(3)
    with pytest.raises(TypeError, match="must be applied to either a function or a class"):
        ray.remote(num_cpus=1)(3)


def test_direct_calls_are_refused():
    with pytest.raises(TypeError, match=r"Remote functions cannot be called directly.*f\.remote\(\)"):
        ray.remote(f)()
    with pytest.raises(TypeError, match=r"Actors cannot be instantiated directly.*A\.remote\(\)"):
        ray.remote(A)()


def test_subclass_of_an_actor_class_is_refused():
    with pytest.raises(ray.actor.ActorClassInheritanceException, match="'B' of actor class 'A'"):

        class B(ray.remote(A)):
            pass


def test_async_functions_are_refused():
    async def g():
        pass

    with pytest.raises(ValueError, match="'async def' should not be used for remote tasks"):
        ray.remote(g)


# ---- the table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [options.TASK, options.ACTOR], ids=["task", "actor"])
def test_every_option_takes_its_default_and_refuses_what_is_of_no_use(table):
    for name, option in table.items():
        option.validate(name, option.default_value)
        with pytest.raises(TypeError, match=f"keyword '{name}'"):
            option.validate(name, object())


def test_all_defaults_can_be_given():
    task = {name: option.default_value for name, option in options.TASK.items()}
    actor = {name: option.default_value for name, option in options.ACTOR.items()}
    ray.remote(**task)(f)
    ray.remote(**actor)(A)
    del task["max_calls"], actor["concurrency_groups"]
    ray.remote(f).options(**task)
    ray.remote(A).options(**actor)


def test_functions_with_gpus_are_called_once_per_worker():
    assert ray.remote(num_gpus=2)(f)._default_options == {"num_gpus": 2, "max_calls": 1}
    assert ray.remote(num_gpus=2, max_calls=0)(f)._default_options == {"num_gpus": 2, "max_calls": 0}
    assert ray.remote(num_gpus=0)(f)._default_options == {"num_gpus": 0}


# ---- what the engine is asked for -----------------------------------------------------------------------------------


def test_task_defaults(monkeypatch):
    monkeypatch.delenv("RAY_TASK_MAX_RETRIES", raising=False)
    request = requests.task({}, is_generator=False)
    assert request["resources"] == {"CPU": 1.0}
    assert (request["num_returns"], request["max_retries"], request["retry_exceptions"]) == (1, 3, False)
    assert "strategy" not in request and request["environment"] is None and request["task_name"] == ""


def test_task_resources():
    request = requests.task(
        {"num_cpus": 0, "num_gpus": 0.5, "memory": 10.9, "resources": {"x": 2}, "accelerator_type": "A100"},
        is_generator=False,
    )
    assert request["resources"] == {"GPU": 0.5, "memory": 10.0, "x": 2.0, "accelerator_type:A100": 0.001}
    assert request["max_calls"] == 1  # a worker that used a device is not used again


@pytest.mark.parametrize(
    ("given", "name"), [({"num_gpus": 1.5}, "GPU"), ({"resources": {"NPU": 2.25}}, "NPU"), ({"num_gpus": 3.1}, "GPU")]
)
def test_units_above_one_must_be_whole(given, name):
    words = f"{name} resource quantities >1 must be whole numbers"
    with pytest.raises(ValueError, match=words):
        requests.task(given, is_generator=False)
    with pytest.raises(ValueError, match=words):
        requests.actor(given, is_async=False)


def test_other_resources_may_be_fractions_above_one():
    request = requests.task({"num_cpus": 1.5, "resources": {"x": 2.5}}, is_generator=False)
    assert request["resources"] == {"CPU": 1.5, "x": 2.5}


def test_default_of_retries_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "7")
    assert requests.task({}, is_generator=False)["max_retries"] == 7
    assert requests.task({"max_retries": 1}, is_generator=False)["max_retries"] == 1


@pytest.mark.parametrize(
    ("given", "placement", "running"),
    [
        ({}, {"CPU": 1.0}, {}),
        ({"memory": 5}, {"CPU": 1.0, "memory": 5.0}, {"memory": 5.0}),
        ({"num_cpus": 2}, {"CPU": 2.0}, {"CPU": 2.0}),
        ({"num_cpus": 0}, {}, {}),
        ({"resources": {"x": 1}}, {"CPU": 1.0, "x": 1.0}, {"CPU": 1.0, "x": 1.0}),
        ({"num_gpus": 1}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}),
    ],
)
def test_actor_resources(given, placement, running):
    request = requests.actor(given, is_async=False)
    assert (request["placement"], request["running"]) == (placement, running)


def test_actor_concurrency():
    assert requests.actor({}, is_async=False)["max_concurrency"] == 1
    assert requests.actor({}, is_async=True)["max_concurrency"] == 1000
    with pytest.raises(ValueError, match="multi-threaded actors"):
        requests.actor({"max_concurrency": 2, "allow_out_of_order_execution": False}, is_async=False)
    with pytest.raises(ValueError, match="async actors"):
        requests.actor({"allow_out_of_order_execution": False}, is_async=True)


def test_strategies():
    node = ray.NodeID.from_random().hex()
    affinity = NodeAffinitySchedulingStrategy(node, soft=True)
    assert requests.task({"scheduling_strategy": "SPREAD"}, is_generator=False)["strategy"] == "SPREAD"
    assert "strategy" not in requests.task({"scheduling_strategy": "DEFAULT"}, is_generator=False)
    assert requests.task({"scheduling_strategy": affinity}, is_generator=False)["strategy"] == ("node", node, True)
    with pytest.raises(ValueError, match="Invalid node_id"):
        NodeAffinitySchedulingStrategy("zz", soft=False)


def test_labels():
    hard = NodeLabelSchedulingStrategy({"a": In("x", "y"), "b": Exists()}, soft={"c": NotIn("z")})
    request = requests.task({"scheduling_strategy": hard, "label_selector": {"d": "!w"}}, is_generator=False)
    assert request["selector"] == {"a": "in(x,y)", "b": "exists()", "d": "!w"}
    assert request["soft_selector"] == {"c": "!in(z)"}


def test_a_placement_group_turns_resources_into_its_own():
    group = PlacementGroup(ray.PlacementGroupID(bytes(18)), [{"CPU": 1}])
    name = group.id.hex()
    request = requests.task({"scheduling_strategy": PlacementGroupSchedulingStrategy(group, 0)}, is_generator=False)
    assert request["resources"] == {f"CPU_group_{name}": 1, f"CPU_group_0_{name}": 1}
    assert (request["group"], request["captures_children"]) == (bytes(18), False)
    request = requests.task(
        {"num_cpus": 0, "scheduling_strategy": PlacementGroupSchedulingStrategy(group)}, is_generator=False
    )
    assert list(request["resources"]) == [f"bundle_group_{name}"]
    with pytest.raises(TypeError, match="PlacementGroup"), pytest.warns(DeprecationWarning):
        requests.task({"placement_group": object()}, is_generator=False)


def test_environment_variables():
    request = requests.task({"runtime_env": {"env_vars": {"A": "1"}}}, is_generator=False)
    assert request["environment"] == {"A": "1"}
    with pytest.raises(TypeError, match="Dict\\[str, str\\]"):
        ray.remote(runtime_env={"env_vars": {"A": 1}})(f)


def test_options_that_are_not_there_yet_are_refused_by_name():
    with pytest.raises(NotImplementedError, match="runtime_env"):
        requests.task({"runtime_env": {"conda": ["x"]}}, is_generator=False)


def test_fallbacks_are_passed_on_in_order():
    fallbacks = [{"label_selector": {"a": "c"}}, {"label_selector": {}}]
    request = requests.task({"label_selector": {"a": "b"}, "fallback_strategy": fallbacks}, is_generator=False)
    assert request["selector"] == {"a": "b"} and request["fallbacks"] == [{"a": "c"}, {}]
    with pytest.raises(ValueError, match="62 elements at the most"):
        ray.remote(fallback_strategy=[{"label_selector": {}}] * 63)(f)


def test_retry_only_for_some_exceptions():
    from ray_engine._private.errors import make_error

    retry_if = requests.retry([KeyError])["retry_if"]
    assert retry_if(make_error(KeyError("x"), "f", None))
    assert not retry_if(make_error(ValueError("x"), "f", None))
    assert requests.retry(True) == {"retry_exceptions": True}
