"""Descriptions of actor classes: what a handle must know of a class to check and send calls.

A description travels inside every handle, so it holds no code and no defaults, only names, kinds and numbers. It is
pickled once per class; a process unpickles it once, the one that has made it never.

Immutable.
"""

import inspect
import types
from dataclasses import dataclass, field
from typing import ClassVar

from ray_engine._private.serialization import dumps_plain
from ray_engine._private.signature import Signature, is_generator

_METHOD_TYPES = (types.FunctionType, types.MethodType)

# What @ray.method leaves on a method, and the field of MethodDescription it goes to.
METHOD_MARKS = {
    "__ray_num_returns__": "num_returns",
    "__ray_generator_backpressure_num_objects__": "_generator_backpressure_num_objects",
    "__ray_max_task_retries__": "max_task_retries",
    "__ray_retry_exceptions__": "retry_exceptions",
    "__ray_concurrency_group__": "concurrency_group",
    "__ray_invocation_decorator__": "decorator",
}


@dataclass(frozen=True)
class MethodDescription:
    name: str
    signature: Signature
    is_generator: bool = False
    num_returns: object = None
    _generator_backpressure_num_objects: object = None
    max_task_retries: object = None
    retry_exceptions: object = None
    concurrency_group: object = None
    decorator: object = None


@dataclass(frozen=True)
class ClassDescription:
    class_name: str
    module: str
    is_async: bool
    methods: dict = field(repr=False)

    # What this process knows, by its pickle, with the settings that are pickled beside it.
    _cache: ClassVar[dict[bytes, tuple["ClassDescription", dict]]] = {}

    @property
    def full_name(self) -> str:
        return f"{self.module}.{self.class_name}"


_SYSTEM_METHODS = {
    "__ray_ready__": MethodDescription("__ray_ready__", Signature(())),
    "__ray_call__": MethodDescription("__ray_call__", Signature(None)),
    "__ray_terminate__": MethodDescription("__ray_terminate__", Signature(())),
}


def describe(cls) -> ClassDescription:
    members = inspect.getmembers(cls, _is_method)
    methods = {"__init__": _inherited_init(cls)}
    methods.update((name, _describe_method(cls, name, method)) for name, method in members)
    is_async = any(map(_is_async, (method for _, method in members)))
    return ClassDescription(cls.__name__, cls.__module__, is_async, {**methods, **_SYSTEM_METHODS})


def _is_method(member) -> bool:
    return isinstance(member, _METHOD_TYPES) or type(member).__name__ == "cython_function_or_method"


def _inherited_init(cls) -> MethodDescription:
    """For a class whose __init__ is not written in Python."""
    return MethodDescription("__init__", Signature(() if cls.__init__ is object.__init__ else None))


def _describe_method(cls, name, method) -> MethodDescription:
    function = inspect.unwrap(method)
    marks = {mark: getattr(function, mark) for mark in METHOD_MARKS if hasattr(function, mark)}
    bound = inspect.ismethod(method) or isinstance(inspect.getattr_static(cls, name), staticmethod)
    is_plain = isinstance(function, (types.FunctionType, types.MethodType))
    return MethodDescription(
        name,
        Signature.of(function, skip_first=not bound) if is_plain else Signature(None),
        is_generator=is_generator(function),
        **{METHOD_MARKS[mark]: value for mark, value in marks.items()},
    )


def _is_async(method) -> bool:
    return inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)


# ---- travelling -----------------------------------------------------------------------------------------------------


def pickled(description: ClassDescription, settings: dict) -> bytes:
    """The description and what was said of this actor when it was made (`settings`)."""
    blob = dumps_plain((description, settings))
    ClassDescription._cache.setdefault(blob, (description, settings))
    return blob


def load(blob: bytes) -> tuple[ClassDescription, dict]:
    """The (description, settings) that pickled() made; the same objects for the same bytes."""
    known = ClassDescription._cache.get(blob)
    if known is None:
        import cloudpickle

        known = ClassDescription._cache[blob] = cloudpickle.loads(blob)
    return known
