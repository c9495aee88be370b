"""Async actors: the event loops in which the methods of an actor with coroutines run.

Every concurrency group has a loop with a thread of its own, so that one that blocks blocks no other; the constructor
runs in that of the default group, and the system group gets its loop with its first call. The worker's main thread
hands over calls in the order they arrived. At most so many of a group run at a time as the group allows, the others
wait in that order.
"""

import asyncio
import collections
import functools
import inspect
import threading

from ray_engine import _core

_actor = None  # the AsyncActor of this process


def start(max_concurrency: int, groups=()):
    """Makes the loops of this process's actor. `groups`: how many calls of each concurrency group run at a time."""
    global _actor
    _actor = AsyncActor(max_concurrency, groups)
    return _actor


def the_actor():
    """The AsyncActor of this process; None if it has none."""
    return _actor


class AsyncActor:
    """Runs calls as tasks of event loops. submit() is for the worker's main thread."""

    def __init__(self, max_concurrency: int, groups=()):
        counts = (max_concurrency, *groups)
        self._loops = {number: _GroupLoop(count) for number, count in enumerate(counts)}  # by number of the group

    def construct(self, call):
        """Makes the actor's instance in the loop of the default group; waits for it."""
        return self._loops[0].run(call.run)

    def submit(self, key: bytes, call, group=0, is_stream=False):
        """Runs `call.run()`, awaits what it returns if that is a coroutine, then calls call.done(result, exception).

        Of a stream it returns a generator of either kind, and each item goes to call.emit(item). Where that returns
        False the reader is behind, and call.await_reader() blocks until it has caught up.
        """
        if group == _core.SYSTEM_GROUP and group not in self._loops:
            self._loops = {**self._loops, group: _GroupLoop(1)}  # other threads may be walking the former
        self._loops[group].start(key, call, is_stream)

    def cancel(self, key: bytes):
        """Cancels the call of that key if it has not ended. From any thread."""
        for loop in self._loops.values():
            loop.cancel(key)

    def close(self):
        """Starts no further call; whoever has called in the loop that runs now gets no answer."""
        for loop in self._loops.values():
            loop.close()

    def stop(self):
        """Ends the loops, between two steps of what runs in them."""
        for loop in self._loops.values():
            loop.stop()


class _GroupLoop:
    """The loop of one concurrency group and its thread."""

    def __init__(self, count: int):
        self._loop = asyncio.new_event_loop()
        self._free = asyncio.Semaphore(count)
        self._tasks: dict[bytes, asyncio.Task] = {}
        self._closed = False
        self._unanswered: set[bytes] = set()  # keys of calls that have ended the process
        self._handed_over: collections.deque = collections.deque()  # calls that the loop has not seen yet
        self._is_woken = False  # it is about to look
        self._thread = threading.Thread(target=self._serve, name="async actor", daemon=True)
        self._thread.start()

    def _serve(self):
        asyncio.set_event_loop(self._loop)
        while True:
            try:
                return self._loop.run_forever()
            except SystemExit as leaving:  # of a task that user code has started
                end_process(leaving)
            except KeyboardInterrupt:
                pass

    def run(self, call):
        result, error = asyncio.run_coroutine_threadsafe(_outcome(call), self._loop).result()
        if error is not None:
            raise error
        return result

    def start(self, *call):
        self._handed_over.append(call)
        if not self._is_woken:  # which is a system call: one does for all that come before it has woken up
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._start_all)

    def cancel(self, key):
        self._loop.call_soon_threadsafe(self._cancel, key)

    def close(self):
        self._closed = True
        if threading.current_thread() is not self._thread:
            return
        current = asyncio.current_task(self._loop)
        self._unanswered.update(key for key, task in self._tasks.items() if task is current)

    def stop(self):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _start_all(self):
        self._is_woken = False  # before looking, so that nothing is missed
        while self._handed_over:
            self._start(*self._handed_over.popleft())

    def _start(self, key, call, is_stream):
        if self._closed:
            return
        task = self._loop.create_task(self._run(key, call, is_stream))
        self._tasks[key] = task
        task.add_done_callback(functools.partial(self._forget, key, call))

    def _forget(self, key, call, task):
        self._tasks.pop(key, None)
        if task.cancelled() and key not in self._unanswered:  # before _run() has begun
            call.done(None, asyncio.CancelledError())

    def _cancel(self, key):
        task = self._tasks.get(key)
        if task is not None:
            task.cancel()

    async def _run(self, key, call, is_stream):
        result, failure = None, None
        try:
            async with self._free:
                if self._closed:
                    return
                result = call.run()
                if inspect.iscoroutine(result):  # other results, references too, are what the method returns
                    result = await result
                if is_stream:
                    result = await self._emit_all(result, call)
        except BaseException as error:  # the caller gets it
            result, failure = None, error
        if key not in self._unanswered:
            call.done(result, failure)
        failure = None  # whose traceback holds this frame

    async def _emit_all(self, items, call):
        async for item in items if inspect.isasyncgen(items) else _as_async(items):
            if not call.emit(item):
                await self._loop.run_in_executor(None, call.await_reader)


def end_process(leaving: SystemExit):
    """For sys.exit() outside of a call, as the interpreter would take it."""
    code = leaving.code
    status = code if isinstance(code, int) else int(code is not None)
    _core.ask_to_exit(status, isinstance(code, int) and code == 0, "it called sys.exit(0).")


async def _outcome(call):
    """(result, exception): asyncio would let some exceptions end the loop."""
    try:
        return call(), None
    except BaseException as error:
        return None, error


async def _as_async(items):
    for item in items:
        yield item
