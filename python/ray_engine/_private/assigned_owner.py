"""put(value, _owner=actor): an object that an actor owns, though another process has made its value.

The actor's process puts the value itself, in its system group: so a busy actor does it too, and the object lives as
long as the actor and those who hold references want.
"""

from typing import Any

from ray_engine import _core
from ray_engine.actor import ActorHandle
from ray_engine.exceptions import RayActorError


def put(value: Any, owner: Any) -> "_core.ObjectRef":
    """Raises TypeError for an owner that is no actor handle, RuntimeError for an actor that is dead."""
    if not isinstance(owner, ActorHandle):
        raise TypeError(f"Expect an `ray.actor.ActorHandle` object as the owner, but got: {type(owner)}.")
    here = _core.put(value)
    call = owner.__ray_call__.options(concurrency_group="_ray_system").remote(_put_again, [here])
    try:
        (reference,) = _core.get(call)
    except RayActorError as error:
        raise RuntimeError(f"{owner} is not alive, so it cannot own an object") from error
    return reference


def _put_again(_, references):
    return [_core.put(_core.get(references[0]))]
