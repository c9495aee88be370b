"""The actor of this process, if it is one's: its instance, and how it is shown.

Written once, while its constructor runs; read by any thread.
"""

import sys
from typing import Any

from ray_engine import _core

_actor: Any = None  # the instance; its class while that is being made
_shown: str | None = None  # what its output is marked with


def begins(cls):
    """Its constructor is about to run."""
    global _actor, _shown
    _actor = cls  # what an error in __init__ shows
    _shown = cls.__name__


def lives(instance):
    """Its constructor has returned."""
    global _actor, _shown
    cls = _actor
    _actor = instance
    if cls.__repr__ is not object.__repr__:
        _shown = _safe_repr(instance)


def _safe_repr(actor):
    """On one line; the name of its class if its own repr fails."""
    try:
        return " ".join(repr(actor).splitlines())
    except Exception:
        return type(actor).__name__


def actor_class():
    """The class of this process's actor; None if it has none."""
    return _actor if isinstance(_actor, type) or _actor is None else type(_actor)


def actor_instance():
    """The actor of this process; None if it has none, or its constructor has not returned."""
    return None if isinstance(_actor, type) else _actor


def actor_shown():
    """How output of this process's actor is marked: its repr if its class defines one. None if there is no actor."""
    return _shown


def current_actor():
    """(id in hex, repr) of this process's actor, or (None, None)."""
    task = _core.current_task()
    actor_id = task and task.get("actor_id")
    if not actor_id or _actor is None:
        return None, None
    try:
        return actor_id.hex(), repr(_actor)
    except Exception:
        return actor_id.hex(), f"<{type(_actor).__name__}>"


def async_actor():
    """What runs this process's actor if that has coroutines. Its module (and asyncio) is loaded where there is one."""
    module = sys.modules.get("ray_engine._private.async_actor")
    return module and module.the_actor()
