"""The methods that every actor has beside its own, and the end of an actor: by exit_actor(), and its last words."""

import logging
from typing import NoReturn

from ray_engine import _core
from ray_engine._private import own_actor
from ray_engine._private.session import session
from ray_engine.exceptions import AsyncioActorExit

logger = logging.getLogger("ray")
NAMES = ("__ray_ready__", "__ray_call__", "__ray_terminate__")
_CAUSE = "exit_actor() is called."


def __ray_ready__(self):
    return True


def __ray_call__(self, fn, *args, **kwargs):
    return fn(self, *args, **kwargs)


def __ray_terminate__(self):
    exit_actor()


def exit_actor() -> NoReturn:
    """Ends the actor that this is called in, from any of its threads.

    What it raises (SystemExit; AsyncioActorExit in an actor with coroutines) unwinds the caller; the actor ends even
    where that is swallowed, once the method that called this is over. Calls that wait fail with ActorDiedError, and the
    actor is not restarted. Its `__ray_shutdown__` method and then its atexit functions run.

    Raises:
        TypeError: this is not an actor.
    """
    if own_actor.actor_class() is None:
        raise TypeError(
            f"exit_actor API is called on a non-actor worker, {session.role}. It ends the actor whose method calls it."
        )
    actor = own_actor.async_actor()
    if actor is None:
        _core.ask_to_exit(0, True, _CAUSE)
        raise SystemExit(0)
    actor.close()
    _core.ask_to_exit(0, True, _CAUSE)
    raise AsyncioActorExit(_CAUSE)


def shut_down():
    """The last act of an actor that ends by itself, or because nobody needs it: its own `__ray_shutdown__`."""
    actor = own_actor.async_actor()
    if actor is not None:
        actor.stop()
    shutdown = getattr(own_actor.actor_instance(), "__ray_shutdown__", None)
    if not callable(shutdown):
        return
    try:
        shutdown()
    except Exception:
        logger.exception("The actor's __ray_shutdown__ method raised an exception; the actor ends anyway")
