"""`ray._common.test_utils`: actors that hold tasks back, and waiting for conditions."""

import asyncio
import inspect
import os
import subprocess
import sys
import time
import traceback

import ray


@ray.remote(num_cpus=0)
class SignalActor:
    """Lets tasks wait until a test says go."""

    def __init__(self):
        self.event = asyncio.Event()
        self.waiting = 0

    def send(self, clear=False):
        self.event.set()
        if clear:
            self.event.clear()

    async def wait(self, should_wait=True):
        if should_wait:
            self.waiting += 1
            await self.event.wait()
            self.waiting -= 1

    async def cur_num_waiters(self):
        return self.waiting


@ray.remote(num_cpus=0)
class Semaphore:
    """A semaphore that tasks share."""

    def __init__(self, value=1):
        self.semaphore = asyncio.Semaphore(value)

    async def acquire(self):
        await self.semaphore.acquire()

    async def release(self):
        self.semaphore.release()

    async def locked(self):
        return self.semaphore.locked()


def wait_for_condition(condition_predictor, timeout=10, retry_interval_ms=100, raise_exceptions=False, **kwargs):
    """Calls the predicate until it is true; RuntimeError with its last exception when the time is over."""
    end, last = time.monotonic() + timeout, ""
    while time.monotonic() <= end:
        try:
            if condition_predictor(**kwargs):
                return
        except Exception:
            if raise_exceptions:
                raise
            last = f" Last exception: {traceback.format_exc()}"
        time.sleep(retry_interval_ms / 1000)
    raise RuntimeError("The condition wasn't met before the timeout expired." + last)


async def async_wait_for_condition(condition_predictor, timeout=10, retry_interval_ms=100, **kwargs):
    end, last = time.monotonic() + timeout, ""
    while time.monotonic() <= end:
        try:
            value = condition_predictor(**kwargs)
            if await value if inspect.isawaitable(value) else value:
                return
        except Exception as error:
            last = f" Last exception: {error!r}"
        await asyncio.sleep(retry_interval_ms / 1000)
    raise RuntimeError("The condition wasn't met before the timeout expired." + last)


def run_string_as_driver(driver_script, env=None, encode="utf-8"):
    """Runs a script, given on standard input, as a driver of its own; returns its output, both streams together."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=driver_script.encode(encode),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
    )
    output = done.stdout.decode(encode)
    if done.returncode:
        print(output)
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout)
    return output


class FakeTimer:
    """A clock that tests move by hand."""

    def __init__(self, start_time=None):
        self.now = time.time() if start_time is None else start_time

    def reset(self, start_time):
        self.now = start_time

    def time(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds

    def realistic_sleep(self, seconds):
        self.now += seconds + 0.001


def is_named_tuple(cls):
    names = getattr(cls, "_fields", None)
    return cls.__bases__ == (tuple,) and isinstance(names, tuple) and all(type(name) is str for name in names)


def external_redis_test_enabled():
    return os.environ.get("TEST_EXTERNAL_REDIS") == "1"
