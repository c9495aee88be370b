"""The verbs: remote, get, put, wait, cancel, kill. get, put and wait are the C++ functions themselves."""

import functools
import inspect

from ray_engine import _core
from ray_engine._private import lifecycle, options
from ray_engine._private.session import session
from ray_engine.actor import ActorClass, ActorHandle
from ray_engine.exceptions import ActorHandleNotFoundError
from ray_engine.remote_function import RemoteFunction

get = _core.get
put = _core.put
wait = _core.wait


def remote(*args, **kwargs):
    """Makes a function remote, or a class an actor class: @remote, or @remote(num_cpus=2, ...)."""
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


def cancel(ray_waitable, *, force: bool = False, recursive: bool = True):
    """Cancels the task that makes this object: it does not start, is interrupted, or (force) its worker is ended."""
    lifecycle.ensure_connected()
    if isinstance(ray_waitable, _core.ObjectRefGenerator):
        ray_waitable = ray_waitable.completed()
    if not isinstance(ray_waitable, _core.ObjectRef):
        raise TypeError(
            f"ray.cancel() only supported for object refs. For actors, try ray.kill(). Got: {type(ray_waitable)}."
        )
    _core.cancel(ray_waitable, force, recursive)


def kill(actor: ActorHandle, *, no_restart: bool = True):
    """Ends an actor at once; what it is doing fails."""
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
