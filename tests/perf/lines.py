"""Timing the lines of the microbenchmark, under whatever engine: metric names and units are those of Ray's own."""

import json
import os
import time

SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))


class Lines:
    """`only`: the metrics that are wanted, separated by commas; all if empty."""

    def __init__(self, only=""):
        self.only = set(filter(None, only.split(",")))
        self.results = {}

    def is_wanted(self, *metrics):
        return not self.only or not self.only.isdisjoint(metrics)

    def time(self, metric, function, multiplier=1):
        """`function` does `multiplier` units."""
        if not self.is_wanted(metric):
            return
        end = time.perf_counter() + SECONDS / 4
        while time.perf_counter() < end:
            function()
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < SECONDS:
            function()
            count += 1
        self.results[metric] = multiplier * count / (time.perf_counter() - start)

    def tasks(self, submit, get, as_completed=None, submit_1k=None):
        """`submit()` starts a task that returns b"ok" and returns a future, `get(futures)` waits for all of them and
        reads them, `as_completed(futures)` yields them one by one, as they are done. `submit_1k()`, where there is
        more to it than that, starts 1,000 tasks and returns their futures."""

        def one_by_one():
            return [submit() for _ in range(1000)]

        def wait_1k():
            for _ in as_completed(submit_1k()):
                pass

        submit_1k = submit_1k or one_by_one
        assert get([submit()])[0] == b"ok"
        self.time("single_client_tasks_sync", lambda: get([submit()]))
        self.time("single_client_tasks_async", lambda: get(submit_1k()), 1000)
        self.time("single_client_tasks_and_get_batch", lambda: get(submit_1k()))
        if as_completed:
            self.time("single_client_wait_1k_refs", wait_1k)

    def actor_calls(self, call, get, kind="actor"):
        """`call()` starts a call of a method that returns b"ok"."""
        assert get([call()])[0] == b"ok"
        self.time(f"1_1_{kind}_calls_sync", lambda: get([call()]))
        self.time(f"1_1_{kind}_calls_async", lambda: get([call() for _ in range(1000)]), 1000)

    def take_better(self, other):
        """Of each line the better figure of two settings."""
        for metric, figure in other.results.items():
            self.results[metric] = max(figure, self.results.get(metric, 0))

    def print(self):
        print("RESULT " + json.dumps(self.results), flush=True)
