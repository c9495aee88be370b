"""Generators: reading what tasks yield.

ObjectRefGenerator is a C++ type (a reader of a stream at this process); what makes it a Python iterator is attached to
it here. DynamicObjectRefGenerator is the older form: the value of a task with num_returns="dynamic".
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from ray_engine import _core
from ray_engine._core import ObjectRef, ObjectRefGenerator


class DynamicObjectRefGenerator:
    """All items of a task that yields, by reference. Iterating takes them out, so none is kept longer than needed."""

    def __init__(self, refs: Iterable[ObjectRef[Any]]):
        self._refs = deque(refs)

    def __iter__(self) -> Iterator[ObjectRef[Any]]:
        while self._refs:
            yield self._refs.popleft()

    def __len__(self) -> int:
        return len(self._refs)


class Items:
    """What a worker sends when it has sent so many items: pickled, it is the generator of the references beside it. The
    owner of the items, who knows them, puts those there."""

    def __init__(self, count: int):
        self._count = count

    def __reduce__(self):
        return _generator_of, (self._count,)


def _generator_of(count):
    return DynamicObjectRefGenerator(_core.ref_at(place) for place in range(count))


# ---- ObjectRefGenerator ---------------------------------------------------------------------------------------------


def __iter__(self):
    return self


def __next__(self):
    """The reference to the next item, as soon as the item is there."""
    return self._next_sync()


def _next_sync(self, timeout_s=None):
    """The same with a time limit; a nil reference where that has passed."""
    if not _core.wait([self], timeout=timeout_s, fetch_local=False)[0]:
        return ObjectRef.nil()
    ref = self._take()
    if ref is None:
        raise StopIteration
    return ref


def __aiter__(self):
    return self


async def __anext__(self):
    return await self._next_async()


def _set_done(ready):
    if not ready.done():
        ready.set_result(None)


async def _next_async(self, timeout_s=None):
    import asyncio

    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def tell():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_set_done, ready)

    _core.on_ready(self._peek(), tell)
    try:
        await asyncio.wait_for(ready, timeout_s)
    except asyncio.TimeoutError:
        return ObjectRef.nil()
    ref = self._take()
    if ref is None:
        raise StopAsyncIteration
    return ref


def next_ready(self: ObjectRefGenerator) -> bool:
    """Whether next() would give an item at once."""
    return not self.is_finished() and bool(_core.wait([self], timeout=0, fetch_local=False)[0])


def is_finished(self: ObjectRefGenerator) -> bool:
    """Whether the task has ended and all its items have been read."""
    return self._has_ended()


def _get_next_ref(self):
    return self._peek()


def _unsupported(self: ObjectRefGenerator, *_: Any) -> NoReturn:
    """Raises NotImplementedError: a generator in another process can only be read."""
    raise NotImplementedError("the items of a remote generator can only be read")


def __reduce__(self):
    raise TypeError(
        "You cannot return or pass a generator to other task. Serializing a ObjectRefGenerator is not allowed."
    )


def _attach():
    for method in (
        __iter__, __next__, _next_sync, __aiter__, __anext__, _next_async, next_ready, is_finished, _get_next_ref,
        __reduce__,
    ):  # fmt: skip
        setattr(ObjectRefGenerator, method.__name__, method)
    for name in ("send", "throw", "close", "asend", "athrow", "aclose"):
        setattr(ObjectRefGenerator, name, _unsupported)
    others = {
        "_generator_ref": property(ObjectRefGenerator.completed),
        "__class_getitem__": classmethod(lambda cls, _: cls),
    }
    for name, attribute in others.items():
        setattr(ObjectRefGenerator, name, attribute)


_attach()
