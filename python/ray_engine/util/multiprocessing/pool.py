"""Pool: multiprocessing.Pool whose processes are actors, on all nodes of the session.

Each process is an actor that takes no CPU of its own accord, so pools may be nested and tasks started beside them.

Thread-safe, but for close(), terminate() and join(), which one thread calls.
"""

import logging
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import ray_engine as ray
from ray_engine._private import lifecycle
from ray_engine.actor import ActorHandle
from ray_engine.util.debug import log_once
from ray_engine.util.multiprocessing.results import (
    AsyncResult,
    Deliveries,
    OrderedIMapIterator,
    PoolTaskError,  # noqa: F401
    UnorderedIMapIterator,
    chunks,
    run_batch,
)

logger = logging.getLogger("ray")
T = TypeVar("T")
_Call = tuple[tuple, dict]  # arguments by place and by name
_CHUNKS_PER_PROCESS = 4  # of a map() that names no chunksize


@ray.remote(num_cpus=0)
class PoolActor:
    """A process of a pool."""

    def __init__(self, initializer, initargs):
        if initializer is not None:
            initializer(*initargs)

    def run_batch(self, func, batch):
        return run_batch(func, batch)


class _Process:
    """An actor of the pool, and how much it has been given."""

    def __init__(self, actor):
        self.actor = actor
        self.batches = 0  # sent in all
        self.under_way = 0


class Pool:
    """A pool of processes that calls are spread over.

    `processes`: how many; all CPUs of the session if None. `initializer(*initargs)` runs in each before anything else.
    `maxtasksperchild`: batches after which a process is replaced by a new one. `ray_address`: the session to join, as
    for init(), if this process is in none. `ray_remote_args`: options of the actors. `context` is ignored.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ):
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if maxtasksperchild is not None and maxtasksperchild < 1:
            raise ValueError("maxtasksperchild must be a positive int or None")
        if context is not None and log_once("multiprocessing_context"):
            logger.warning("The argument 'context' of Pool has no effect: processes are actors of the session.")
        self.size = _size(processes, ray_address)
        self._initial = initializer, tuple(initargs or ())
        self._most_batches = maxtasksperchild or float("inf")
        self._actor_class = PoolActor.options(**(ray_remote_args or {}))
        self._lock = threading.RLock()
        self._closed = False
        self._terminated = False
        self._next = 0  # process that the next batch goes to, unless another one has less to do
        self._ending: list[tuple[ActorHandle, ray.ObjectRef]] = []  # (actor, reference that is ready when it has ended)
        self._iterators: weakref.WeakSet = weakref.WeakSet()  # imap()s that have not sent everything
        self._processes = [self._start_process() for _ in range(self.size)]
        self._deliveries = Deliveries()
        weakref.finalize(self, self._deliveries.close)
        ray.get([process.actor.__ray_ready__.remote() for process in self._processes])

    # ---- processes -------------------------------------------------------------------------------------------------

    def _start_process(self) -> _Process:
        return _Process(self._actor_class.remote(*self._initial))

    def _end_process(self, process):
        """Lets it do what it has been given, then end."""
        self._ending.append((process.actor, process.actor.__ray_terminate__.remote()))

    def _pick(self) -> int:
        """The process with the least to do; of several the one whose turn it is."""
        order = (index % self.size for index in range(self._next, self._next + self.size))
        return min(order, key=lambda index: self._processes[index].under_way)

    def send(self, func: Any, batch: list[_Call], take: Callable[[list], object], index: int | None = None) -> None:
        """Runs a batch of (args, kwargs), in process `index` if it is given; take(results) is called at its end."""
        with self._lock:
            if self._terminated:
                raise ValueError("Pool not running")
            ref, done = self._send(func, batch, index)
        self._deliveries.expect(ref, len(batch), lambda results: (done(), take(results)))

    def _send(self, func, batch, index):
        """(reference to the results, what to call when they are there)."""
        index = self._pick() if index is None else index
        self._next = (index + 1) % self.size
        process = self._processes[index]
        ref = process.actor.run_batch.remote(func, batch)
        process.batches += 1
        process.under_way += 1
        if process.batches >= self._most_batches:
            self._end_process(process)
            self._processes[index] = self._start_process()

        def done():
            with self._lock:
                process.under_way -= 1

        return ref, done

    # ---- calls -----------------------------------------------------------------------------------------------------

    def apply(self, func: Callable[..., T], args: Iterable[Any] = (), kwargs: dict[str, Any] | None = None) -> T:
        """func(*args, **kwargs) in one of the processes. Raises what func raised, ValueError if the pool is closed."""
        return self.apply_async(func, args, kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """The same at once: returns what the result can be waited for with.

        callback(result) or error_callback(error) is called, in a thread of the pool, when it is there.
        """
        self._check_running()
        result = AsyncResult(1, callback, error_callback, single=True)
        self.send(func, [(tuple(args or ()), dict(kwargs or {}))], result.taker(0))
        return result

    def map(self, func: Callable[[Any], T], iterable: Iterable[Any], chunksize: int | None = None) -> list[T]:
        """[func(item) for item in iterable]; `chunksize` items go to a process at a time."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
    ) -> AsyncResult:
        """The same at once; callback gets the list, error_callback the first error."""
        calls: list[_Call] = [((item,), {}) for item in iterable]
        return self._map_async(func, calls, chunksize, callback, error_callback)

    def starmap(
        self, func: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int | None = None
    ) -> list[T]:
        """[func(*items) for items in iterable]."""
        return self.starmap_async(func, iterable, chunksize=chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        callback: Callable[[Any], object] | None = None,
        error_callback: Callable[[BaseException], object] | None = None,
        chunksize: int | None = None,
    ) -> AsyncResult:
        """The same at once, as map_async() does."""
        calls: list[_Call] = [(tuple(items), {}) for items in iterable]
        return self._map_async(func, calls, chunksize, callback, error_callback)

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> OrderedIMapIterator:
        """Iterator over func(item) for all items, in their order; reads on in `iterable` as results are taken.

        An item for which func raised gives the error, as a PoolTaskError, instead of a result.
        """
        return self._imap(OrderedIMapIterator, func, iterable, chunksize)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> UnorderedIMapIterator:
        """The same, results in the order in which they get ready."""
        return self._imap(UnorderedIMapIterator, func, iterable, chunksize)

    def _map_async(self, func, calls, chunksize, callback, error_callback):
        self._check_running()
        batches = list(chunks(calls, self._chunksize(chunksize, calls)))
        result = AsyncResult(len(batches), callback, error_callback, single=False)
        func = func if len(batches) < 2 else ray.put(func)  # pickled once
        for number, batch in enumerate(batches):
            self.send(func, batch, result.taker(number), index=number % self.size)
        return result

    def _imap(self, kind, func, iterable, chunksize):
        self._check_running()
        calls: Iterator[_Call] = (((item,), {}) for item in iter(iterable))
        iterator = kind(self, func, calls, self._chunksize(chunksize, iterable))
        self._iterators.add(iterator)
        return iterator

    def _chunksize(self, given, iterable) -> int:
        if given is None:
            length = len(iterable) if hasattr(iterable, "__len__") else 1
            return max(1, -(-length // (self.size * _CHUNKS_PER_PROCESS)))
        if given < 1:
            raise ValueError(f"Chunksize must be 1+, not {given}")
        return given

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _check_running(self):
        if self._closed:
            raise ValueError("Pool not running")

    def __enter__(self) -> "Pool":
        self._check_running()
        return self

    def __exit__(self, *_):
        self.terminate()

    def close(self) -> None:
        """No more calls; the processes end when they have done what there is."""
        if self._closed:
            return
        self._closed = True
        for iterator in list(self._iterators):
            iterator.send_all()
        with self._lock:
            for process in self._processes:
                self._end_process(process)
        self._deliveries.close()

    def terminate(self) -> None:
        """No more calls; ends the processes at once, and what they are doing fails."""
        with self._lock:
            self._terminated = True  # an imap() sends nothing any more
            self._iterators.clear()
        self.close()
        for actor, _ in self._ending:
            ray.kill(actor)

    def join(self) -> None:
        """Waits until the processes of a closed or terminated pool have ended. ValueError if it is neither."""
        if not self._closed:
            raise ValueError("Pool is still running")
        ended = [ended for _, ended in self._ending]
        ray.wait(ended, num_returns=len(ended))
        self._deliveries.join()


def _size(processes, address) -> int:
    if processes is not None and processes < 1:
        raise ValueError("Processes in the pool must be >0.")
    if not ray.is_initialized():
        num_cpus = {"num_cpus": processes} if processes and lifecycle.starts_engine(address) else {}
        ray.init(address, **num_cpus)
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if cpus < (processes or 1):
        raise ValueError(
            f"Tried to start a pool with {processes or 'all the'} processes on an existing ray cluster, but there are "
            f"only {cpus} CPUs in the ray cluster."
        )
    return processes or cpus
