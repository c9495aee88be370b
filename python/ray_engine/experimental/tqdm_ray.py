"""tqdm for tasks and actors: the bars of all processes are drawn at the driver, one below the other.

A bar in a worker prints its state as a line of JSON, at most once per `flush_interval_s`; the driver takes these lines
out of the output and draws (see _private/progress_bars.py). Needs the package tqdm at the driver.

Thread-safe.
"""

import json
import os
import sys
import time
import uuid
from collections.abc import Iterable, Sized
from typing import Any

from ray_engine._private.progress_bars import BAR_MARK, BarManager, instance, own_address, safe_print
from ray_engine._private.session import session

__all__ = ["BarManager", "instance", "safe_print", "tqdm"]


class tqdm:
    """A progress bar like tqdm.tqdm: iterate over it, or call update().

    `position`: its place among the bars of its process. `flush_interval_s`: seconds between two drawings at least.
    """

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ):
        self._iterable = iterable
        self._desc = desc or ""
        self.total = len(iterable) if total is None and isinstance(iterable, Sized) else total
        self.n = 0
        self._unit = unit or "it"
        self._position = position or 0
        self._uuid = uuid.uuid4().hex
        self._closed = False
        self._interval_s = 1.0 if flush_interval_s is None else flush_interval_s
        self._flushed_at = float("-inf")

    def set_description(self, desc: str) -> None:
        """Changes the text before the bar."""
        self._desc = desc
        self.refresh()

    def update(self, n: int = 1) -> None:
        """`n` more have been done."""
        self.n += n
        self.refresh()

    def refresh(self) -> None:
        """Shows the bar as it is, unless that has just been done."""
        if time.monotonic() - self._flushed_at >= self._interval_s:
            self._flush()

    def close(self) -> None:
        """Shows it for the last time."""
        self._closed = True
        self._flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __iter__(self):
        if self._iterable is None:
            raise ValueError("No iterable provided")
        for item in self._iterable:
            yield item
            self.update()
        self._flush()

    def _flush(self):
        self._flushed_at = time.monotonic()
        if session.is_worker:
            sys.stdout.write(json.dumps(self._state()) + "\n")
        else:
            instance().process_state_update(self._state())

    def _state(self) -> dict:
        return {
            BAR_MARK: True,
            "x": self.n,
            "pos": self._position,
            "desc": self._desc,
            "total": self.total,
            "unit": self._unit,
            "ip": own_address(),
            "pid": os.getpid(),
            "uuid": self._uuid,
            "closed": self._closed,
        }
