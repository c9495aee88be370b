"""Async actors: the event loop in which the methods of an actor with coroutines run.

The loop has a thread of its own; the worker's main thread hands it calls in the order they arrived. At most
`max_concurrency` run at a time, the others wait in that order.
"""

import asyncio
import contextvars
import inspect
import threading

_current = contextvars.ContextVar("task id", default=None)


class AsyncActorLoop:
    """Runs calls as tasks of one event loop. submit() is for the worker's main thread."""

    def __init__(self, max_concurrency: int, groups=()):
        """`groups`: how many calls of each concurrency group, from 1, run at a time; group 0 has max_concurrency."""
        self._loop = asyncio.new_event_loop()
        self._free = [asyncio.Semaphore(count) for count in (max_concurrency, *groups)]
        self._tasks = {}
        threading.Thread(target=self._loop.run_forever, name="async actor", daemon=True).start()

    def submit(self, key: bytes, call, done, group=0, emit=None, wait=None):
        """Runs `call()`, awaits what it returns if that can be awaited, then calls done(result, exception).

        With `emit`, what it returns is a generator of either kind, and each item goes to emit(item). Where that returns
        False the reader is behind, and wait() blocks until it has caught up.
        """
        self._loop.call_soon_threadsafe(self._start, key, call, done, group, emit, wait)

    @staticmethod
    def current():
        """The key of the call whose coroutine asks; None outside of calls."""
        return _current.get()

    def cancel(self, key: bytes):
        """Cancels the call of that key if it has not ended. From any thread."""
        self._loop.call_soon_threadsafe(self._cancel, key)

    def _start(self, key, call, done, group, emit, wait):
        task = self._loop.create_task(self._run(key, call, done, self._free[group], emit, wait))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def _cancel(self, key):
        task = self._tasks.get(key)
        if task is not None:
            task.cancel()

    async def _run(self, key, call, done, free, emit, wait):
        _current.set(key)
        try:
            async with free:
                result = call()
                if inspect.isawaitable(result):
                    result = await result
                if emit is not None:
                    result = await self._emit_all(result, emit, wait)
        except BaseException as error:  # the caller gets it
            done(None, error)
        else:
            done(result, None)

    async def _emit_all(self, items, emit, wait):
        async for item in items if inspect.isasyncgen(items) else _as_async(items):
            if not emit(item):
                await self._loop.run_in_executor(None, wait)


async def _as_async(items):
    for item in items:
        yield item
