"""ActorPool: a fixed set of actors that work off calls, each busy with one at a time.

Calls that find no idle actor wait here and are sent when a result is taken out.

Thread-compatible.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray_engine as ray
from ray_engine.actor import ActorHandle

Call = Callable[[ActorHandle[Any], Any], ray.ObjectRef[Any]]


class ActorPool:
    """A pool of these actors (handles)."""

    def __init__(self, actors: Iterable[ActorHandle[Any]]):
        self._idle = list(actors)
        self._actor_of: dict[Any, tuple[int, ActorHandle]] = {}  # call under way -> (its number, the actor)
        self._call_of: dict[int, Any] = {}  # number -> reference, until the result is taken
        self._pending_submits: list[tuple[Callable, Any]] = []  # (fn, value) that found no idle actor
        self._submitted = 0  # number of the next call
        self._taken = 0  # number of the next result in order

    def map(self, fn: Call, values: Iterable[Any]) -> Iterator[Any]:
        """Iterator over the results of fn(actor, value) for all values, in their order.

        fn returns a reference: lambda actor, value: actor.method.remote(value). Results that were submitted before and
        not taken are dropped.
        """
        return self._map(fn, values, self.get_next)

    def map_unordered(self, fn: Call, values: Iterable[Any]) -> Iterator[Any]:
        """The same, results in the order in which they get ready."""
        return self._map(fn, values, self.get_next_unordered)

    def _map(self, fn, values, take):
        while self.has_next():  # results nobody will ask for any more
            try:
                self.get_next_unordered(timeout=0, ignore_if_timedout=True)
            except TimeoutError:
                pass
        for value in values:
            self.submit(fn, value)
        return self._drain(take)

    def _drain(self, take):
        while self.has_next():
            yield take()

    def submit(self, fn: Call, value: Any) -> None:
        """Sends fn(actor, value), which must return a reference, to an idle actor, or keeps it until there is one."""
        if not self._idle:
            self._pending_submits.append((fn, value))
            return
        actor = self._idle.pop()
        ref = fn(actor, value)
        self._actor_of[_key(ref)] = self._submitted, actor
        self._call_of[self._submitted] = ref
        self._submitted += 1

    def has_next(self) -> bool:
        """Whether there are results to take, now or later."""
        return bool(self._actor_of)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The next result in the order of the calls.

        Raises TimeoutError after `timeout` seconds; with `ignore_if_timedout` the result is given up as well.
        StopIteration if there are no more, ValueError after get_next_unordered().
        """
        self._check_has_next()
        if self._taken not in self._call_of:
            raise ValueError("It is not allowed to call get_next() after get_next_unordered().")
        ref = self._call_of[self._taken]
        timed_out = timeout is not None and not ray.wait([ref], timeout=timeout)[0]
        if timed_out and not ignore_if_timedout:
            raise TimeoutError("Timed out waiting for result")
        del self._call_of[self._taken]
        self._taken += 1
        return self._take(ref, timed_out)

    def get_next_unordered(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """A result that is ready, or the first that gets so. Arguments and errors are those of get_next()."""
        self._check_has_next()
        ready, _ = ray.wait(list(self._call_of.values()), num_returns=1, timeout=timeout)
        if not ready and not ignore_if_timedout:
            raise TimeoutError("Timed out waiting for result")
        ref = ready[0] if ready else next(iter(self._call_of.values()))
        number, _ = self._actor_of[_key(ref)]
        del self._call_of[number]
        self._taken = max(self._taken, number + 1)
        return self._take(ref, not ready)

    def _check_has_next(self):
        if not self.has_next():
            raise StopIteration("No more results to get")

    def _take(self, ref, timed_out):
        _, actor = self._actor_of.pop(_key(ref))
        self._return(actor)
        if timed_out:
            raise TimeoutError(f"Timed out waiting for result. The task {ref} has been ignored.")
        return ray.get(ref)

    def _return(self, actor):
        self._idle.append(actor)
        if self._pending_submits:
            self.submit(*self._pending_submits.pop(0))

    def has_free(self) -> bool:
        """Whether an actor is idle and no call waits for one."""
        return bool(self._idle) and not self._pending_submits

    def pop_idle(self) -> ActorHandle[Any] | None:
        """Takes an idle actor out of the pool; None if there is none."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: ActorHandle[Any]) -> None:
        """Adds an actor. Raises ValueError if it is in the pool."""
        busy = [other for _, other in self._actor_of.values()]
        if actor in self._idle or actor in busy:
            raise ValueError("Actor already belongs to current ActorPool")
        self._return(actor)


def _key(ref):
    return tuple(ref) if isinstance(ref, list) else ref
