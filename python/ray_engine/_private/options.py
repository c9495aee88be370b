"""Options: the table of what @ray.remote(...) and .options(...) accept, with Ray's checks and defaults.

An Option says which types its value may have, what else must hold, and what it is when it is not given; TASK and ACTOR
are the tables by name. Translating options into what the engine wants is done in requests.py.

Immutable.
"""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ray_engine._private import environment, labels
from ray_engine._private.quantities import quantity_problem

_MOST_RETURNS = 65535  # TaskHeader::num_returns
_TOO_MANY_RETURNS = (
    f"num_returns can be {_MOST_RETURNS} at most, got {{}}. Return a list, or yield the values one by one."
)
_TPU_AMOUNTS = (1, 2, 4, 8)
_NONE = type(None)


@dataclass(frozen=True)
class Option:
    types: Any
    problem: Callable[[Any], str | None] | None = None  # value -> what is wrong with it
    default_value: Any = None

    def validate(self, keyword: str, value: Any) -> None:
        """Raises TypeError or ValueError if the option cannot have this value. `keyword`: what it is called there."""
        if not isinstance(value, self.types):
            raise _wrong_type(keyword, self.types, value)
        problem = self.problem and self.problem(value)
        if problem:
            raise ValueError(problem)


def _wrong_type(keyword, types, value):
    return TypeError(f"The type of keyword '{keyword}' must be {types}, but received type {type(value)}")


def _count(name, *, infinite, default=None):
    low = -1 if infinite else 0
    allowed = (
        "None, 0, -1 or a positive integer, where -1 represents infinity"
        if infinite
        else "None, 0 or a positive integer"
    )

    def problem(value):
        return None if value is None or value >= low else f"The keyword '{name}' only accepts {allowed}."

    return Option((int, _NONE), problem, default)


def _request_problem(name, quantity):
    """The same for what a task or actor asks for."""
    problem = quantity_problem(name, quantity)
    if problem or quantity is None:
        return problem
    if name == "TPU" and quantity not in _TPU_AMOUNTS:
        return (
            f"The number of requested 'TPU' was set to {quantity} which is not a supported chip configuration. "
            f"Supported configs: {_TPU_AMOUNTS}"
        )
    if quantity != int(quantity) and name in _whole_resources():
        return f"{name} resource quantity must be whole numbers. The specified quantity {quantity} is invalid."
    return None


@functools.cache
def _whole_resources():
    from ray_engine import _core

    return frozenset(resource for resource, _, _, whole, _ in _core.accelerators() if whole)


def _amount(name, default=None):
    return Option((float, int, _NONE), lambda value: _request_problem(name, value), default)


def _resources_problem(resources):
    for name, quantity in (resources or {}).items():
        if name in ("CPU", "GPU"):
            return "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword"
        problem = _request_problem(name, quantity)
        if problem:
            return problem
    return None


def _strategy_problem(strategy):
    from ray_engine.util.scheduling_strategies import ALL

    if isinstance(strategy, (str, _NONE)):
        return None if strategy in (None, "DEFAULT", "SPREAD") else f"Invalid scheduling strategy {strategy!r}"
    if not isinstance(strategy, ALL):
        raise _wrong_type("scheduling_strategy", (str, _NONE, *ALL), strategy)
    return None


def _group_problem(group):
    from ray_engine.util.placement_group import PlacementGroup

    if not isinstance(group, (str, _NONE, PlacementGroup)):
        raise _wrong_type("placement_group", (str, _NONE, PlacementGroup), group)
    return None


def _is_exception(kind):
    return isinstance(kind, type) and issubclass(kind, Exception)


def _retry_problem(value):
    if isinstance(value, bool) or all(map(_is_exception, value)):
        return None
    return "retry_exceptions must be either a boolean or a list of exceptions"


def _num_returns_problem(value):
    if isinstance(value, int) and value > _MOST_RETURNS:
        return _TOO_MANY_RETURNS.format(value)
    if value in (None, "dynamic", "streaming") or (isinstance(value, int) and value >= 0):
        return None
    return (
        "The keyword 'num_returns' only accepts None, a non-negative integer, 'streaming' (for generators), or "
        "'dynamic' (deprecated). The default value is 1 for a task, and 'streaming' for a generator."
    )


def _backpressure_problem(value):
    if value != 0:
        return None
    return "_generator_backpressure_num_objects=0 is not allowed. Use a value > 0, or -1 to disable this feature."


def _lifetime_problem(value):
    if value in (None, "detached", "non_detached"):
        return None
    return "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."


def _task_store_problem(value):
    return None if value is None else "Setting 'object_store_memory' is not implemented for tasks"


_COMMON = {
    "label_selector": Option((dict, _NONE), labels.selector_problem),
    "fallback_strategy": Option((list, _NONE), labels.fallback_problem),
    "accelerator_type": Option((str, _NONE)),
    "memory": _amount("memory"),
    "name": Option((str, _NONE)),
    "num_cpus": _amount("num_cpus"),
    "num_gpus": _amount("num_gpus"),
    "object_store_memory": _count("object_store_memory", infinite=False),
    "placement_group": Option(object, _group_problem, "default"),
    "placement_group_bundle_index": Option(int, default_value=-1),
    "placement_group_capture_child_tasks": Option((bool, _NONE)),
    "resources": Option((dict, _NONE), _resources_problem),
    "runtime_env": Option((dict, _NONE), environment.problem),
    "scheduling_strategy": Option(object, _strategy_problem),
    "enable_task_events": Option(bool, default_value=True),
    "_labels": Option((dict, _NONE)),
}

TASK = {
    **_COMMON,
    "max_calls": _count("max_calls", infinite=False, default=0),
    "max_retries": _count("max_retries", infinite=True, default=3),
    "num_cpus": _amount("num_cpus", default=1),
    "num_returns": Option((int, str, _NONE), _num_returns_problem),
    "object_store_memory": Option((int, _NONE), _task_store_problem),
    "retry_exceptions": Option((bool, list, tuple), _retry_problem, False),
    "_generator_backpressure_num_objects": Option((int, _NONE), _backpressure_problem),
    "_num_objects_per_yield": _count("_num_objects_per_yield", infinite=False),
}

ACTOR = {
    **_COMMON,
    "concurrency_groups": Option((list, dict, _NONE)),
    "enable_tensor_transport": Option((bool, _NONE)),
    "lifetime": Option((str, _NONE), _lifetime_problem),
    "max_concurrency": _count("max_concurrency", infinite=False),
    "max_restarts": _count("max_restarts", infinite=True, default=0),
    "max_task_retries": _count("max_task_retries", infinite=True, default=0),
    "max_pending_calls": _count("max_pending_calls", infinite=True, default=-1),
    "namespace": Option((str, _NONE)),
    "get_if_exists": Option(bool, default_value=False),
    "allow_out_of_order_execution": Option((bool, _NONE)),
    "_actor_generator_backpressure_num_objects": _count("_actor_generator_backpressure_num_objects", infinite=True),
}

METHOD = (
    "num_returns", "concurrency_group", "max_task_retries", "retry_exceptions", "_generator_backpressure_num_objects",
    "enable_task_events", "tensor_transport",
)  # fmt: skip

DECORATOR_HELP = (
    "The @ray.remote decorator must be applied either with no arguments and no parentheses, '@ray.remote', or with "
    f"some of the keywords {list({**TASK, **ACTOR})}, as in '@ray.remote(num_returns=2, resources={{\"fpga\": 1}})'."
)


def _check(given, table, what):
    for name, value in given.items():
        if name not in table:
            raise ValueError(f"Invalid option keyword {name} for {what}. Valid ones are {list(table)}.")
        table[name].validate(name, value)
    if (
        given.get("placement_group", "default") not in ("default", None)
        and given.get("scheduling_strategy") is not None
    ):
        raise ValueError(
            "The placement_group option is deprecated and excludes scheduling_strategy; "
            "Placement groups should be specified via the scheduling_strategy option."
        )


def check_task(given: dict, *, in_options: bool, is_generator: bool | None = None):
    """Raises if these cannot be the options of a task. `in_options`: they were given to .options()."""
    _check(given, TASK, "remote functions")
    if in_options and "max_calls" in given:
        raise ValueError("Setting 'max_calls' is not supported in '.options()'.")
    if is_generator is not None:
        check_num_returns(given.get("num_returns"), is_generator)


def check_actor(given: dict, *, in_options: bool):
    """Raises if these cannot be the options of an actor."""
    _check(given, ACTOR, "actors")
    if in_options and "concurrency_groups" in given:
        raise ValueError("Setting 'concurrency_groups' is not supported in '.options()'.")
    if given.get("get_if_exists") and not given.get("name"):
        raise ValueError("The actor name must be specified to use `get_if_exists`.")
    if given.get("object_store_memory") is not None:
        warnings.warn(
            "Setting 'object_store_memory' for actors is deprecated: it reserves nothing.",
            DeprecationWarning,
            stacklevel=4,
        )


def check_num_returns(num_returns, is_generator: bool):
    if isinstance(num_returns, int) and num_returns < 0:
        raise ValueError(f"num_returns must be >= 0, but got {num_returns}.")
    if isinstance(num_returns, int) and num_returns > _MOST_RETURNS:
        raise ValueError(_TOO_MANY_RETURNS.format(num_returns))
    if num_returns in ("streaming", "dynamic") and not is_generator:
        raise ValueError(
            f"num_returns='{num_returns}' can only be used with generator functions (functions that use 'yield'). "
            "The decorated function is not a generator function."
        )
