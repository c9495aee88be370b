"""cloudpickle under the name that Ray programs know (`from ray import cloudpickle`)."""

from collections.abc import Callable
from typing import Any

from cloudpickle import *  # noqa: F403
from cloudpickle import CloudPickler as CloudPickler
from cloudpickle import Pickler as Pickler
from cloudpickle import dump as dump
from cloudpickle import dumps as dumps
from cloudpickle import load as load
from cloudpickle import loads as loads


def dumps_debug(obj: Any, protocol: int | None = None, buffer_callback: Callable[[Any], object] | None = None) -> bytes:
    """dumps() whose TypeError tells what keeps the object from being pickled."""
    from ray_engine._private.serialization import unserializable

    try:
        return dumps(obj, protocol=protocol, buffer_callback=buffer_callback)
    except Exception as error:
        raise unserializable(obj, repr(obj)) from error
