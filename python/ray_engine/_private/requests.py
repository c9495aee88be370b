"""Requests: from the options a program gave to what the engine is asked for.

The results are the `options` of _core.TaskCaller, _core.create_actor and _core.MethodCaller. Options that this version
cannot honour are refused here, at the first use.
"""

import os

from ray_engine import _core
from ray_engine._private import environment, placement, unavailable
from ray_engine._private.options import ACTOR, TASK
from ray_engine._private.session import session

_MAX_INT32 = 2**31 - 1
_RESERVED = ("CPU", "GPU", "memory", "object_store_memory", "bundle")


def task(given: dict, *, is_generator: bool, what: str = "the task") -> dict:
    """The options of a TaskCaller, but for what the function's signature adds. `what`: its name in error messages."""
    options = {name: given.get(name, option.default_value) for name, option in TASK.items()}
    _refuse(options)
    where, resources = placement.place(what, options, _resources(options))
    request = {
        "resources": resources,
        **returns(options["num_returns"], is_generator, options["_generator_backpressure_num_objects"]),
        "max_retries": _retries(given.get("max_retries"), options["max_retries"]),
        **where,
        "environment": environment.merged(options["runtime_env"]),
        "task_name": options["name"] or "",
        **retry(options["retry_exceptions"]),
    }
    max_calls = options["max_calls"] or (1 if options["num_gpus"] and given.get("max_calls") is None else 0)
    if max_calls:
        request["max_calls"] = max_calls
    return request


def actor(given: dict, *, is_async: bool, what: str = "the actor") -> dict:
    """The options of create_actor, but for those about the class. `what`: its name in error messages."""
    options = {name: given.get(name, option.default_value) for name, option in ACTOR.items()}
    _refuse(options)
    concurrency = options["max_concurrency"]
    if concurrency is None:
        concurrency = 1000 if is_async else 1
    _check_order(options["allow_out_of_order_execution"], concurrency, is_async)
    where, to_place, running = placement.place(what, options, *_actor_resources(options))
    return {
        "name": options["name"] or "",
        "namespace": options["namespace"] or session.namespace,
        "detached": (options["lifetime"] or session.actor_lifetime) == "detached",
        "max_restarts": min(options["max_restarts"] or 0, _MAX_INT32),
        "max_task_retries": min(options["max_task_retries"] or 0, _MAX_INT32),
        "max_concurrency": concurrency,
        "concurrency_groups": concurrency_groups(options["concurrency_groups"]),
        "max_pending_calls": max(options["max_pending_calls"] or 0, 0),
        "out_of_order": is_async or concurrency > 1 or bool(options["allow_out_of_order_execution"]),
        "is_async": is_async,
        "placement": to_place,
        "running": running,
        **where,
        "environment": environment.merged(options["runtime_env"]),
    }


def concurrency_groups(given) -> list:
    """[(name, how many calls at a time)]; their places in this list, from 1, are what calls name them by.

    A group of no size passes: its actor fails when it is created.
    """
    groups = (
        list(given.items())
        if isinstance(given, dict)
        else [(item["name"], item["max_concurrency"]) for item in given or ()]
    )
    for name, count in groups:
        if not isinstance(name, str) or not isinstance(count, int) or count < 0:
            raise ValueError(
                f"concurrency_groups maps names to numbers of calls, none of which is negative, got {name!r}: {count!r}"
            )
    if len(groups) >= _core.SYSTEM_GROUP:
        raise ValueError(f"an actor may have {_core.SYSTEM_GROUP - 1} concurrency groups at the most")
    return groups


def retry(retry_exceptions) -> dict:
    """Whether a task that raised is run again: yes, no, or `retry_if(encoded error) -> bool` decides."""
    if isinstance(retry_exceptions, (list, tuple)):
        return {"retry_exceptions": True, "retry_if": _RaisedOneOf(tuple(retry_exceptions))}
    return {"retry_exceptions": bool(retry_exceptions)}


class _RaisedOneOf:
    def __init__(self, classes):
        self.classes = classes

    def __call__(self, encoded: bytes) -> bool:
        import cloudpickle

        error = cloudpickle.loads(encoded)
        return isinstance(getattr(error, "cause", error), self.classes)


def returns(num_returns, is_generator: bool, limit) -> dict:
    """How many objects a call returns, and whether it yields them. `limit`: unread items for which it waits."""
    if num_returns is None:
        num_returns = "streaming" if is_generator else 1
    if num_returns not in ("streaming", "dynamic"):
        return {"num_returns": num_returns}
    return {"num_returns": 1, "yields": num_returns, "stream_limit": max(limit or 0, 0)}


def _refuse(options):
    if options.get("enable_tensor_transport"):
        raise unavailable.option("enable_tensor_transport", options["enable_tensor_transport"])


def _retries(given, default) -> int:
    value = default if given is not None else int(os.environ.get("RAY_TASK_MAX_RETRIES", default))
    return min(value, _MAX_INT32)


def _resources(options) -> dict:
    resources = dict(options["resources"] or {})
    for name in _RESERVED:
        if name in resources:
            raise ValueError(f"The resources dictionary must not contain the key '{name}'")
    amounts = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], "memory": options["memory"]}
    resources.update({name: amount for name, amount in amounts.items() if amount is not None})
    if "memory" in resources:
        resources["memory"] = int(resources["memory"])
    if options["accelerator_type"] is not None:
        resources[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    _check_units(resources)
    return {name: float(amount) for name, amount in resources.items() if amount}


def _check_units(resources):
    for name in _core.unit_resources():
        amount = resources.get(name) or 0
        if amount > 1 and amount != int(amount):
            raise ValueError(
                f"{name} resource quantities >1 must be whole numbers. The specified quantity {amount} is invalid."
            )


def _actor_resources(options):
    """(to be placed with, held while it lives). Where nothing was named: placed with one CPU, holding none."""
    resources = _resources(options)
    named = {name for name in ("num_cpus", "num_gpus", "accelerator_type") if options[name] is not None}
    if options["resources"] or named:
        if options["num_cpus"] is None:
            resources["CPU"] = 1.0
        return resources, resources
    return {**resources, "CPU": 1.0}, resources


def _check_order(allow_out_of_order, concurrency, is_async):
    if allow_out_of_order is not False:
        return
    if is_async:
        raise ValueError(
            "If you're using async actors, Ray can't execute actor tasks in order. "
            "Set `allow_out_of_order_execution=True` to allow out-of-order execution."
        )
    if concurrency > 1:
        raise ValueError(
            "If you're using multi-threaded actors, Ray can't execute actor tasks in order. "
            "Set `allow_out_of_order_execution=True` to allow out-of-order execution."
        )


def decorated(decorate, caller):
    """The caller as a function's __ray_invocation_decorator__ wants it."""
    invoke = decorate(lambda args, kwargs: caller(*args, **kwargs))
    return lambda *args, **kwargs: invoke(args, kwargs)
