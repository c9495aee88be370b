"""Taking results as they come: as_completed() and map_unordered()."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeVar, overload

import ray_engine as ray

T = TypeVar("T")


@overload
def as_completed(
    refs: Iterable[ray.ObjectRef[T]],
    *,
    chunk_size: int = 10,
    yield_obj_refs: Literal[False] = False,
    **wait_options: Any,
) -> Iterator[T]: ...
@overload
def as_completed(
    refs: Iterable[ray.ObjectRef[T]], *, chunk_size: int = 10, yield_obj_refs: bool, **wait_options: Any
) -> Iterator[Any]: ...
def as_completed(
    refs: Iterable[ray.ObjectRef[Any]], *, chunk_size: int = 10, yield_obj_refs: bool = False, **wait_options: Any
) -> Iterator[Any]:
    """Iterator over the values of `refs` (with `yield_obj_refs`: over the references) in the order they get ready.

    `chunk_size`: how many are waited for at a time; 1 hands each on at once. The rest goes to ray.wait(). Raises what
    the first failed task raised, when its turn comes; ValueError for a chunk_size below 1 or a num_returns.
    """
    _check(chunk_size, wait_options)
    return _as_completed(list(refs), chunk_size, yield_obj_refs, wait_options)


def _as_completed(refs, chunk_size, yield_obj_refs, wait_options):
    while refs:
        taken, refs = _take(refs, chunk_size, yield_obj_refs, wait_options)
        yield from taken


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
    **wait_options: Any,
) -> Iterator[Any]:
    """Iterator over the results of fn.remote(item) for all items, in the order they get ready.

    No more than `backpressure_size` calls are under way at a time (None: no limit); `items` may be endless. The other
    arguments, and the errors, are those of as_completed(); a backpressure_size below 1 is a ValueError too.
    """
    if backpressure_size is not None and backpressure_size <= 0:
        raise ValueError("backpressure_size must be positive.")
    _check(chunk_size, wait_options)
    return _map_unordered(fn, items, backpressure_size or float("inf"), chunk_size, yield_obj_refs, wait_options)


def _map_unordered(fn, items, most, chunk_size, yield_obj_refs, wait_options):
    refs = []
    for item in items:
        refs.append(fn.remote(item))
        if len(refs) >= most:
            taken, refs = _take(refs, chunk_size, yield_obj_refs, wait_options)
            yield from taken
    yield from _as_completed(refs, chunk_size, yield_obj_refs, wait_options)


def _take(refs, chunk_size, yield_obj_refs, wait_options):
    """(values or references of those that are ready, the references that are left)."""
    ready, rest = ray.wait(refs, num_returns=min(chunk_size, len(refs)), **wait_options)
    return (ready if yield_obj_refs else ray.get(ready)), rest


def _check(chunk_size, wait_options):
    if chunk_size < 1:
        raise ValueError("`chunk_size` must be >= 1")
    if "num_returns" in wait_options:
        raise ValueError("Use the `chunk_size` argument instead of `num_returns`.")
