"""Queue: a first-in first-out queue that any process can put to and take from. An actor holds the items."""

import asyncio
import collections
import queue
import time
from collections.abc import Iterable
from typing import Any

import ray_engine as ray

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0005, 0.02


class Empty(queue.Empty):
    """The queue had nothing to take."""


class Full(queue.Full):
    """The queue had no room."""


class Queue:
    """A queue for at most `maxsize` items; 0 or less: no limit. `actor_options`: of the actor that holds the items."""

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None):
        self.maxsize = maxsize
        self.actor: Any = ray.remote(_Items).options(**{"num_cpus": 0, **(actor_options or {})}).remote(maxsize)

    def __len__(self) -> int:
        return self.size()

    def size(self) -> int:
        """How many items there are; also as qsize()."""
        return ray.get(self.actor.size.remote())

    qsize = size

    def empty(self) -> bool:
        """Whether there is no item."""
        return ray.get(self.actor.empty.remote())

    def full(self) -> bool:
        """Whether there are `maxsize` items."""
        return 0 < self.maxsize <= self.size()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Appends an item; where the queue is full waits for room, `timeout` seconds at most, or raises Full.

        Not `block`: raises Full at once. A negative timeout is a ValueError.
        """
        attempts = _Attempts(block, timeout)
        while not ray.get(self.actor.put.remote([item])):
            time.sleep(attempts.pause_or_raise(Full))

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """put() for coroutines."""
        attempts = _Attempts(block, timeout)
        while not await self.actor.put.remote([item]):
            await asyncio.sleep(attempts.pause_or_raise(Full))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Takes the first item; where there is none waits for one, `timeout` seconds at most, or raises Empty.

        Not `block`: raises Empty at once. A negative timeout is a ValueError.
        """
        attempts = _Attempts(block, timeout)
        while not (taken := ray.get(self.actor.take.remote(1))):
            time.sleep(attempts.pause_or_raise(Empty))
        return taken[0]

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """get() for coroutines."""
        attempts = _Attempts(block, timeout)
        while not (taken := await self.actor.take.remote(1)):
            await asyncio.sleep(attempts.pause_or_raise(Empty))
        return taken[0]

    def put_nowait(self, item: Any) -> None:
        """put() that raises Full rather than wait."""
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        """get() that raises Empty rather than wait."""
        return self.get(block=False)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Appends all the items or, where they have no room, none and raises Full."""
        if not isinstance(items, collections.abc.Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        items = list(items)
        if not ray.get(self.actor.put.remote(items)):
            raise Full(f"Cannot add {len(items)} items to queue of size {self.size()} and maxsize {self.maxsize}.")

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Takes that many items or, where there are fewer, none and raises Empty."""
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        taken = ray.get(self.actor.take.remote(num_items))
        if taken is None:
            raise Empty(f"Cannot get {num_items} items from queue of size {self.size()}.")
        return taken

    def shutdown(self, force: bool = False, grace_period_s: float = 5) -> None:
        """Ends the actor; without `force` it first finishes the calls that have reached it, for that many seconds."""
        if self.actor and not force:
            ended = self.actor.__ray_terminate__.remote()
            ray.wait([ended], timeout=grace_period_s)
        if self.actor:
            ray.kill(self.actor, no_restart=True)
        self.actor = None


class _Attempts:
    """How long to pause between attempts, and when to give up."""

    def __init__(self, block, timeout):
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        self._block = block
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._pause = _FIRST_PAUSE_S

    def pause_or_raise(self, error) -> float:
        left = self._LEFT_FOREVER if self._deadline is None else self._deadline - time.monotonic()
        if not self._block or left <= 0:
            raise error
        self._pause = min(self._pause * 2, _LONGEST_PAUSE_S)
        return min(self._pause, left)

    _LEFT_FOREVER = float("inf")


class _Items:
    """The items, inside the actor. Never waits, so that it needs one thread only."""

    def __init__(self, maxsize):
        self._maxsize = maxsize
        self._items: collections.deque = collections.deque()

    def size(self):
        return len(self._items)

    def empty(self):
        return not self._items

    def put(self, items) -> bool:
        """Whether they had room; all are appended, or none."""
        if 0 < self._maxsize < len(self._items) + len(items):
            return False
        self._items.extend(items)
        return True

    def take(self, count):
        """That many items, or None if there are fewer."""
        if len(self._items) < count:
            return None
        return [self._items.popleft() for _ in range(count)]
