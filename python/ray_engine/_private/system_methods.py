"""The methods that every actor has beside its own, and the end that an actor gives itself."""

from ray_engine import _core
from ray_engine._private.session import session

NAMES = ("__ray_ready__", "__ray_call__", "__ray_terminate__")


def __ray_ready__(self):
    return True


def __ray_call__(self, fn, *args, **kwargs):
    return fn(self, *args, **kwargs)


def __ray_terminate__(self):
    exit_actor()


class _ActorExit(SystemExit):
    """Ends the actor's process as asked for; the engine does not restart it."""


def exit_actor():
    """Ends the actor this is called in, as soon as it is called. Calls that wait fail, and it is not restarted."""
    task = _core.current_task()
    if not task or not task.get("actor_id"):
        raise TypeError(
            f"exit_actor API is called on a non-actor worker, {session.role}. It ends the actor whose method calls it."
        )
    raise _ActorExit("exit_actor() is called.")
