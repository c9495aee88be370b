"""The verbs: remote, get, put, wait, cancel, kill. get, put and wait are the C++ functions themselves."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, overload

from ray_engine import _core
from ray_engine._private import lifecycle, options
from ray_engine._private.session import session
from ray_engine.actor import ActorClass, ActorHandle
from ray_engine.exceptions import ActorHandleNotFoundError
from ray_engine.remote_function import RemoteFunction

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ray_engine._private.call_types import (
        AnyOptions,
        Decorator,
        DecoratorReturning,
        Dynamic,
        One,
        Refs,
        Several,
        TaskOptions,
    )

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

get = _core.get
put = _core.put
wait = _core.wait


@overload
def remote(definition: type[T], /) -> ActorClass[T]: ...
@overload
def remote(definition: Callable[P, R], /) -> RemoteFunction[P, R]: ...
@overload
def remote(*, num_returns: One = None, **options: Unpack[AnyOptions]) -> Decorator: ...
@overload
def remote(*, num_returns: Literal[0], **options: Unpack[TaskOptions]) -> DecoratorReturning[None]: ...
@overload
def remote(*, num_returns: Several, **options: Unpack[TaskOptions]) -> DecoratorReturning[Refs]: ...
@overload
def remote(*, num_returns: Literal["dynamic"], **options: Unpack[TaskOptions]) -> DecoratorReturning[Dynamic]: ...
@overload
def remote(*, num_returns: int | str | None, **options: Unpack[TaskOptions]) -> DecoratorReturning[Any]: ...
def remote(*args: Any, **kwargs: Any) -> Any:
    """Makes a function remote, or a class an actor class: @remote, or @remote(num_cpus=2, ...).

    Of tasks and actors:

    - num_cpus, num_gpus, memory (bytes), resources ({name: amount}), accelerator_type: what it needs. A task needs one
      CPU if nothing is said; an actor is placed where a CPU is free and then holds none.
    - scheduling_strategy: "DEFAULT", "SPREAD", or one of ray.util.scheduling_strategies. label_selector
      ({label: value}) and fallback_strategy (other selectors, in order): on which nodes.
    - name: of a task what is shown; of an actor what get_actor() finds.
    - runtime_env: {"env_vars": {...}}, environment variables; {"pip": [...]}, packages that must be installed.
    - placement_group, placement_group_bundle_index, placement_group_capture_child_tasks: deprecated for
      PlacementGroupSchedulingStrategy.

    Of tasks:

    - num_returns: how many references a call returns (1); "streaming" or "dynamic" for a function that yields.
    - max_retries: how often it is run again if its worker dies (3); -1 without end. retry_exceptions: whether that also
      goes for exceptions it raises, or a list of those that it goes for.
    - max_calls: a worker ends after so many calls (0: never; 1 for tasks with GPUs).
    - _generator_backpressure_num_objects: a function that yields waits while so many items are unread; -1 never.

    Of actors:

    - namespace, lifetime ("detached": outlives its job), get_if_exists: what goes with a name.
    - max_restarts: how often the actor is made anew if it dies (0); -1 without end. max_task_retries: how often a call
      is then made again (0).
    - max_concurrency: calls at a time (1; 1000 with coroutines). concurrency_groups ({name: calls at a time}): groups
      of methods with a limit of their own. allow_out_of_order_execution.
    - max_pending_calls: how many calls of one process may wait (-1: any number).

    Raises ValueError or TypeError for an option that does not exist or cannot have this value, TypeError for what is
    neither function nor class.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return _make_remote(args[0], {})
    assert not args and kwargs, options.DECORATOR_HELP
    return functools.partial(_make_remote, given=kwargs)


def _make_remote(definition, given):
    if inspect.isclass(definition):
        return ActorClass._of(definition, given)
    if inspect.isfunction(definition) or type(definition).__name__ == "cython_function_or_method":
        return RemoteFunction(definition, given)
    raise TypeError("The @ray.remote decorator must be applied to either a function or a class.")


def cancel(
    ray_waitable: _core.ObjectRef[Any] | _core.ObjectRefGenerator[Any], *, force: bool = False, recursive: bool = True
) -> None:
    """Cancels the task that makes this object. get() of it then raises TaskCancelledError.

    A task that waits does not start; one that runs gets a KeyboardInterrupt (a coroutine: CancelledError). `force` ends
    its worker instead, which methods of actors do not allow (ValueError). `recursive`: the tasks that it has started
    too. A task that has ended is left alone. Raises TypeError for anything but a reference or a generator of them.
    """
    lifecycle.ensure_connected()
    if isinstance(ray_waitable, _core.ObjectRefGenerator):
        ray_waitable = ray_waitable.completed()
    if not isinstance(ray_waitable, _core.ObjectRef):
        raise TypeError(
            f"ray.cancel() only supported for object refs. For actors, try ray.kill(). Got: {type(ray_waitable)}."
        )
    _core.cancel(ray_waitable, force, recursive)


def kill(actor: ActorHandle[Any], *, no_restart: bool = True) -> None:
    """Ends an actor at once; what it is doing, and what waits for it, fails with ActorDiedError.

    `no_restart` False: it starts again if it has restarts left. Raises ValueError for anything but a handle,
    ActorHandleNotFoundError for one of another session.
    """
    lifecycle.ensure_connected()
    if not isinstance(actor, ActorHandle):
        raise ValueError(f"ray.kill() only supported for actors. For tasks, try ray.cancel(). Got: {type(actor)}.")
    if actor._ray_session != session.number:
        raise ActorHandleNotFoundError(
            "ActorHandle objects are not valid across Ray sessions. "
            f"The actor handle was created in job {actor._actor_id.job_id.hex()}, but the current job is "
            f"{session.job_id.hex()}. Please create a new actor handle in the current session."
        )
    _core.kill_actor(actor._ray_actor_ref, no_restart)
