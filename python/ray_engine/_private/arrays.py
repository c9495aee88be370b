"""empty(): numpy arrays that live in the object store from the start, so that storing them copies nothing."""

from __future__ import annotations

import math
import operator
import pickle
from typing import TYPE_CHECKING, Any

from ray_engine import _core
from ray_engine._private import lifecycle, serialization

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray


def empty(shape: int | tuple[int, ...] | list[int], dtype: DTypeLike = float) -> NDArray[Any]:
    """A numpy array, not initialised, whose memory lies in this node's object store.

    - shape: an int, or several; dtype: what numpy takes for one, but for types that hold Python objects.

    `put(array)`, passing it to a task and returning it from one copy nothing: the array becomes the object's value, and
    is read-only from then on. That holds for the array as it was made while no other view of it exists; anything else
    (a slice, an array inside a list, a view still being around) is copied as any value is. Memory of an array that is
    dropped without having been stored is free again with its last view. Arrays of up to 100 KiB are ordinary ones, as
    such values travel inside messages.

    Raises TypeError and ValueError for what is no shape or dtype, and ObjectStoreFullError where there is no room.
    """
    import numpy as np

    lifecycle.ensure_connected()
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise TypeError(f"empty() cannot make an array of {kind}: the object store holds no Python objects")
    sizes = _sizes(shape)
    size = math.prod(sizes) * kind.itemsize
    room = _core.make_room(_pickled(np, kind, sizes), size)
    if room is None:
        return np.empty(sizes, kind)
    base = np.frombuffer(room, np.uint8)
    return np.ndarray(sizes, kind, base)  # its views have the same base


def _sizes(shape) -> tuple[int, ...]:
    try:
        sizes = tuple(map(operator.index, shape if isinstance(shape, (tuple, list)) else (shape,)))
    except TypeError:
        raise TypeError(f"a shape is an int or a tuple of them, got {shape!r}") from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"no size in a shape may be negative, got {shape!r}")
    return sizes


class _Like:
    """Pickled as an array is of which there is only the description."""

    def __init__(self, reduced: tuple[Any, ...]):
        self._reduced = reduced

    def __reduce_ex__(self, _):
        return self._reduced


def _pickled(np, dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The pickle of such an array, without its memory."""
    make, (buffer, *_, order) = np.empty(1, dtype).__reduce_ex__(5)[:2]
    if not isinstance(buffer, pickle.PickleBuffer):
        raise TypeError(f"empty() cannot make an array of {dtype}: its memory cannot be shared as it is")
    like = _Like((make, (pickle.PickleBuffer(bytearray(1)), dtype, shape, order)))
    return serialization.dumps(like)[0]
