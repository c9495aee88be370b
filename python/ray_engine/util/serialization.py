"""Serializers of one's own for classes that pickle cannot handle, or not well."""

from ray_engine._private import serialization


def register_serializer(cls, *, serializer, deserializer):
    """From now on this process sends instances of exactly `cls` as serializer(instance); deserializer rebuilds them."""
    serialization.add_reducer(cls, lambda pickler, obj: (deserializer, (serializer(obj),)))


def deregister_serializer(cls):
    """Undoes register_serializer()."""
    serialization.remove_reducer(cls)
