"""Definitions: functions and classes, exported once by content and loaded once per process.

A definition is pickled when its function or class is first used in a session, not when it is decorated, and kept at
the head under the hash of its pickle. A worker that loaded a definition knows its id, so calling it on from there
exports nothing.

Thread-safe: all is done under the GIL by single dictionary operations; a lost race exports the same bytes twice.
"""

import inspect
import traceback
import weakref
from typing import Any

from ray_engine import _core
from ray_engine._private import error_channel, own_actor, system_methods
from ray_engine._private.serialization import dumps_plain, unserializable
from ray_engine._private.session import session
from ray_engine.exceptions import OufOfBandObjectRefSerializationException

_LARGE_BYTES, _TOO_LARGE_BYTES = 10**7, 10**8  # of a pickled definition: warned about, refused

# id(object) -> (weak reference to it, session number, definition id)
_exported: dict[int, tuple[weakref.ref, int, bytes]] = {}
_loaded: dict[bytes, Any] = {}  # definition id -> function or actor factory


def export(kind: str, definition, label: str) -> bytes:
    """The definition id of a function or class ("function", "class"); exports it if this session does not have it."""
    known = _exported.get(id(definition))
    if known is not None and known[0]() is definition and known[1] == session.number:
        return known[2]
    try:
        blob = dumps_plain(definition)
    except OufOfBandObjectRefSerializationException:
        raise
    except Exception as error:
        raise unserializable(definition, label) from error
    _check_size(kind, definition.__name__, len(blob))
    definition_id = _core.export(kind, blob)
    _remember(definition, definition_id)
    return definition_id


def _check_size(kind, name, size):
    if size <= _LARGE_BYTES:
        return
    what = f"The {'remote function' if kind == 'function' else 'actor'} {name} is"
    cure = (
        "Check that its definition does not capture a large array or other object from around it. "
        "Tip: put() such an object once and pass the reference."
    )
    if size >= _TOO_LARGE_BYTES:
        raise ValueError(f"{what} too large ({size >> 20} MiB; the limit is {_TOO_LARGE_BYTES >> 20} MiB). {cure}")
    error_channel.report(error_channel.LARGE_DEFINITION, f"Warning: {what} very large ({size >> 20} MiB). {cure}")


def _remember(definition, definition_id):
    key = id(definition)
    reference = weakref.ref(definition, lambda _: _exported.pop(key, None))
    _exported[key] = reference, session.number, definition_id


def load_function(function_id: bytes, blob):
    """The function of an exported definition."""
    function = _loaded.get(function_id)
    if function is None:
        function = _loaded[function_id] = _load(function_id, blob, "remote function")
        _note_loaded(function, function_id)
    return function


def load_class(class_id: bytes, blob):
    """Something to call with the arguments of __init__ that returns the actor's instance."""
    factory = _loaded.get(class_id)
    if factory is None:
        factory = _loaded[class_id] = ActorFactory(_load(class_id, blob, "actor class"))
        _note_loaded(factory.cls, class_id)
    return factory


def _note_loaded(definition, definition_id):
    try:
        _remember(definition, definition_id)
    except TypeError:  # not weakly referable: exported again when called on from here
        pass


def _load(definition_id, blob, what):
    import cloudpickle

    try:
        return cloudpickle.loads(blob)
    except Exception:
        raise RuntimeError(
            f"The {what} failed to import on the worker; is a module missing there?\n\n{traceback.format_exc()}"
        ) from None


class ActorFactory:
    """Makes the one actor of this process and remembers it."""

    def __init__(self, cls):
        self.cls = _with_system_methods(cls)

    def __call__(self, *args, **kwargs):
        own_actor.begins(self.cls)
        instance = self.cls(*args, **kwargs)
        own_actor.lives(instance)
        return instance


def _with_system_methods(cls):
    """The class with the methods that every actor has."""
    members = {name: getattr(system_methods, name) for name in system_methods.NAMES}
    try:
        for name, method in members.items():
            setattr(cls, name, method)
        return cls
    except TypeError:  # a class that cannot be changed, such as a built-in one
        return type(cls.__name__, (cls,), {**members, "__module__": cls.__module__, "__qualname__": cls.__qualname__})


def function_name(task: dict) -> str:
    """The full name of the function or method that a task of this process runs."""
    cls = own_actor.actor_class()
    if not task["actor_id"]:
        function = _loaded[task["function_id"]]
        return f"{function.__module__}.{function.__name__}"
    method = getattr(cls, task["name"], None)
    if inspect.iscoroutinefunction(method):  # named differently in Ray too
        return f"{method.__module__}.{method.__qualname__}"
    return f"{cls.__module__}.{cls.__name__}.{task['name']}"
