"""Serializers of one's own for classes that pickle cannot handle, or not well."""

from collections.abc import Callable
from typing import Any, TypeVar

from ray_engine._private import serialization

T = TypeVar("T")


def register_serializer(cls: type[T], *, serializer: Callable[[T], Any], deserializer: Callable[[Any], T]) -> None:
    """From now on this process sends instances of exactly `cls` as serializer(instance); deserializer rebuilds them.

    What serializer() returns must be picklable, and so must deserializer be. Other processes need not register.
    """
    serialization.add_reducer(cls, lambda pickler, obj: (deserializer, (serializer(obj),)))


def deregister_serializer(cls: type) -> None:
    """Undoes register_serializer(); does nothing where none is registered."""
    serialization.remove_reducer(cls)
