"""What a Pool's calls return: results to wait for, and iterators over results.

The calls of a pool run in batches, one actor call each. `Deliveries` gets each batch when it is there and hands it to
the AsyncResult or iterator it is for, in one thread per pool: the thread that user callbacks run in.

Thread-safe.
"""

import itertools
import logging
import queue
import threading
import time
from collections.abc import Iterator
from multiprocessing import TimeoutError
from multiprocessing.pool import ExceptionWithTraceback  # type: ignore[attr-defined]  # not in typeshed
from typing import Any

import ray_engine as ray
from ray_engine import _core
from ray_engine.exceptions import RayError

logger = logging.getLogger("ray")


class PoolTaskError(Exception):
    """Stands for the result of a call that raised `underlying`."""

    def __init__(self, underlying: BaseException):
        super().__init__(underlying)
        self.underlying = underlying


def chunks(iterable, chunksize: int):
    """The arguments in lists of `chunksize`."""
    iterator = iter(iterable)
    return iter(lambda: list(itertools.islice(iterator, chunksize)), [])


def run_batch(func, batch) -> list:
    """In the worker: the results of func(*args, **kwargs) for all of (args, kwargs)."""
    return [_run(func, args, kwargs) for args, kwargs in batch]


def _run(func, args, kwargs):
    try:
        return func(*args, **kwargs)
    except Exception as error:
        return PoolTaskError(ExceptionWithTraceback(error, error.__traceback__))  # arrives as `error`, with a text


class Deliveries:
    """Brings batches to who waits for them, in a thread that ends once it is closed and nothing is under way."""

    def __init__(self):
        self._ready: queue.SimpleQueue = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._under_way = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ray-pool-results", daemon=True)
        self._thread.start()

    def expect(self, ref, size: int, take):
        """Calls take(list of `size` results) once the batch is there; PoolTaskErrors if it could not be run."""
        with self._lock:
            self._under_way += 1
        _core.on_ready(ref, lambda: self._ready.put((ref, size, take)))

    def close(self):
        """No more batches will be expected."""
        with self._lock:
            self._closed = True
        self._ready.put(None)

    def join(self):
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self):
        while not self._is_done():
            item = self._ready.get()
            if item is not None:
                self._deliver(*item)
                del item

    def _is_done(self) -> bool:
        with self._lock:
            return self._closed and self._under_way == 0

    def _deliver(self, ref, size, take):
        try:
            take(_results(ref, size))
        except Exception:
            logger.exception("A callback of a multiprocessing pool raised an exception.")
        finally:
            with self._lock:
                self._under_way -= 1


def _results(ref, size) -> list:
    try:
        return ray.get(ref)
    except RayError as error:
        return [PoolTaskError(error)] * size


class AsyncResult:
    """The result of apply_async(), map_async() or starmap_async()."""

    def __init__(self, num_batches: int, callback, error_callback, single: bool):
        self._callback = callback
        self._error_callback = error_callback
        self._single = single
        self._batches: list[list] = [[]] * num_batches
        self._missing = num_batches
        self._error: BaseException | None = None
        self._ready = threading.Event()
        if num_batches == 0:
            self._finish()

    def taker(self, index: int):
        """What to call with the results of this batch."""
        return lambda results: self._take(index, results)

    def _take(self, index, results):
        self._batches[index] = results
        self._missing -= 1
        try:
            if self._error is None:
                self._note_error(results)
        finally:
            if self._missing == 0:
                self._finish()

    def _note_error(self, results):
        errors = (result.underlying for result in results if isinstance(result, PoolTaskError))
        self._error = next(errors, None)
        if self._error is not None and self._error_callback is not None:
            self._error_callback(self._error)

    def _finish(self):
        try:
            if self._error is None and self._callback is not None:
                self._callback(self._value())
        finally:
            self._ready.set()

    def _value(self):
        results = list(itertools.chain.from_iterable(self._batches))
        return results[0] if self._single else results

    def wait(self, timeout: float | None = None) -> None:
        """Returns when the result is there, or after `timeout` seconds."""
        self._ready.wait(timeout)

    def get(self, timeout: float | None = None) -> Any:
        """The result; raises what the first call that failed raised, or TimeoutError after `timeout` seconds."""
        self.wait(timeout)
        if not self.ready():
            raise TimeoutError
        if self._error is None:
            return self._value()
        for result in itertools.chain.from_iterable(self._batches):
            if isinstance(result, PoolTaskError):
                raise result.underlying

    def ready(self) -> bool:
        """Whether the result is there."""
        return self._ready.is_set()

    def successful(self) -> bool:
        """Whether no call raised. Raises ValueError while the result is not there."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None


class IMapIterator:
    """Iterator over the results of imap() and imap_unordered().

    A call that raised gives a PoolTaskError in its place. One batch per process is under way; each batch that is taken
    sends the next.
    """

    def __init__(self, pool, func, iterable, chunksize: int):
        self._pool = pool  # None when everything has been sent
        self._func = func
        self._chunks = chunks(iterable, chunksize)
        self._arrived: queue.SimpleQueue = queue.SimpleQueue()  # (number of a batch, its results)
        self._sent = 0
        self._taken = 0  # batches whose results went to `_results`
        self._results: Iterator = iter(())
        self._error: Exception | None = None  # what the iterable of arguments raised
        for _ in range(pool.size):
            self._send_next()

    def _send_next(self) -> bool:
        chunk = self._next_chunk() if self._pool is not None else None
        if chunk is None:
            self._pool = None
            return False
        number, arrived = self._sent, self._arrived
        self._pool.send(self._func, chunk, lambda results: arrived.put((number, results)))
        self._sent += 1
        return True

    def _next_chunk(self):
        try:
            return next(self._chunks, None)
        except Exception as error:
            self._error = error
            return None

    def send_all(self):
        """The pool is being closed."""
        while self._send_next():
            pass

    def __iter__(self):
        return self

    def next(self, timeout: float | None = None) -> Any:
        """The next result; raises TimeoutError if it is not there after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            for result in self._results:
                return result
            if self._taken == self._sent:
                self._end()
            self._results = iter(self._next_batch(deadline))
            self._taken += 1

    __next__ = next

    def _end(self):
        error, self._error = self._error, None
        raise StopIteration if error is None else error

    def _arrival(self, deadline):
        left = None if deadline is None else max(0, deadline - time.monotonic())
        try:
            arrived = self._arrived.get(timeout=left)
        except queue.Empty:
            raise TimeoutError from None
        self._send_next()
        return arrived

    def _next_batch(self, deadline) -> list:
        return self._arrival(deadline)[1]


class OrderedIMapIterator(IMapIterator):
    """Gives the results in the order of the arguments."""

    def __init__(self, *args):
        self._early = {}  # number of a batch -> results
        super().__init__(*args)

    def _next_batch(self, deadline) -> list:
        while self._taken not in self._early:
            number, results = self._arrival(deadline)
            self._early[number] = results
        return self._early.pop(self._taken)


class UnorderedIMapIterator(IMapIterator):
    """Gives the results in the order in which they get ready."""
