"""free(): values that a program gives up while it still holds references to them."""

from __future__ import annotations

from typing import Any

from ray_engine import _core
from ray_engine._private import unavailable
from ray_engine._private.session import session


def free(object_refs: _core.ObjectRef[Any] | list[_core.ObjectRef[Any]], local_only: bool = False) -> None:
    """Drops the values of these objects everywhere; who reads one from now on gets ObjectFreedError.

    An object that is being read keeps its memory until then. One that is not there yet, or is an error, stays as it is.
    Raises TypeError for anything but references; `local_only` is not available.
    """
    if isinstance(object_refs, _core.ObjectRef):
        object_refs = [object_refs]
    if not isinstance(object_refs, list):
        raise TypeError(f"free() expects a list of ObjectRef, got {type(object_refs)}")
    for ref in object_refs:
        if not isinstance(ref, _core.ObjectRef):
            raise TypeError(f"Attempting to call `free` on the value {ref}, which is not an ray.ObjectRef.")
    if local_only:
        raise unavailable.option("local_only", local_only)
    session.check_connected()
    for ref in object_refs:
        _core.free(ref)
