"""Progress bars at the driver: those of all processes of its job, drawn one below the other.

A bar's process says how it is (experimental/tqdm_ray.py): a dictionary with the key BAR_MARK; from a worker it comes as
a line of JSON among the output. Needs the package tqdm.

Thread-safe.
"""

import builtins
import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

from ray_engine._private.session import session

BAR_MARK = "__ray_tqdm_magic_token__"

logger = logging.getLogger("ray")
_print = builtins.print


def own_address() -> str:
    return session.info.get("node_ip", "")


class _Bar:
    """One bar on the screen, `offset` + its own position lines down."""

    def __init__(self, library, state, prefix, offset):
        self.state = state
        self.prefix = prefix
        self.bar = library.tqdm(
            desc=prefix + state["desc"],
            total=state["total"],
            initial=state["x"],
            unit=state["unit"],
            position=offset + state["pos"],
            dynamic_ncols=True,
            unit_scale=True,
        )

    def update(self, state):
        self.bar.total = state["total"]
        self.bar.set_description(self.prefix + state["desc"], refresh=False)
        self.bar.update(state["x"] - self.bar.n)
        self.bar.refresh()
        self.state = state

    def move(self, offset):
        self.bar.clear()
        self.bar.pos = -(offset + self.state["pos"])
        self.bar.refresh()


class _BarGroup:
    """The bars of one process."""

    def __init__(self, offset):
        self.offset = offset
        self.bars_by_uuid = {}

    def lines(self) -> int:
        return max((1 + bar.state["pos"] for bar in self.bars_by_uuid.values()), default=0)

    def move(self, offset):
        if offset != self.offset:
            self.offset = offset
            for bar in self.bars_by_uuid.values():
                bar.move(offset)


class BarManager:
    """All bars of the session, in groups by process."""

    def __init__(self, library: Any):
        self._library = library
        self.lock = threading.RLock()
        self.bar_groups: dict[tuple[str, int], _BarGroup] = {}  # (address, pid) -> _BarGroup
        self.in_hidden_state = False
        self.num_hides = 0

    def process_state_update(self, state: dict[str, Any]) -> None:
        """Draws a bar as its process says it is."""
        if self._library is None:
            from ray_engine.util.debug import log_once

            if log_once("no_tqdm"):
                logger.warning("tqdm is not installed; progress bars are not shown.")
            return
        with self.lock:
            self._draw(state)

    def _draw(self, state):
        group = self._group_of(state)
        bar = group.bars_by_uuid.get(state["uuid"])
        if bar is None:
            bar = group.bars_by_uuid[state["uuid"]] = _Bar(self._library, state, _prefix(state), group.offset)
            self._arrange()
        else:
            bar.update(state)
        if state["closed"]:
            with self.hidden(counted=False):
                bar.bar.close()
                del group.bars_by_uuid[state["uuid"]]
            self._arrange()

    def _group_of(self, state):
        key = state["ip"], state["pid"]
        if key not in self.bar_groups:
            self.bar_groups[key] = _BarGroup(sum(group.lines() for group in self.bar_groups.values()))
        return self.bar_groups[key]

    def _arrange(self):
        offset = 0
        for group in self.bar_groups.values():
            group.move(offset)
            offset += group.lines()

    @contextlib.contextmanager
    def hidden(self, counted: bool = True) -> Iterator[None]:
        """No bar is on the screen meanwhile."""
        with self.lock:
            outer, self.in_hidden_state = self.in_hidden_state, True
            self.num_hides += counted and not outer
            if not outer:
                self._each(lambda bar: bar.clear())
            try:
                yield
            finally:
                self.in_hidden_state = outer
                if not outer:
                    self._each(lambda bar: bar.refresh())

    def _each(self, act):
        for group in self.bar_groups.values():
            for bar in group.bars_by_uuid.values():
                act(bar.bar)


def _prefix(state) -> str:
    if state["ip"] != own_address():
        return f"(pid={state['pid']}, ip={state['ip']}) "
    return "" if state["pid"] == os.getpid() else f"(pid={state['pid']}) "


_manager = None
_manager_lock = threading.Lock()


def instance() -> BarManager:
    """The manager of this process; making it replaces print() by safe_print(), unless RAY_TQDM_PATCH_PRINT=0."""
    global _manager
    with _manager_lock:
        if _manager is None:
            _manager = BarManager(_library())
            if os.environ.get("RAY_TQDM_PATCH_PRINT", "1") != "0":
                builtins.print = safe_print
        return _manager


def _library():
    try:
        import tqdm.auto
    except ImportError:
        return None
    return tqdm.auto


def safe_print(*args: Any, **kwargs: Any) -> None:
    """print() that leaves the bars whole."""
    if _manager is None or kwargs.get("file") not in (None, sys.stdout, sys.stderr):
        return _print(*args, **kwargs)
    with _manager.hidden():
        _print(*args, **kwargs)


def draw_line(line: str) -> bool:
    """Draws what a line of a worker's output says; False if it says nothing of a bar."""
    try:
        state = json.loads(line)
    except ValueError:
        return False
    if not isinstance(state, dict) or BAR_MARK not in state:
        return False
    instance().process_state_update(state)
    return True


def hidden() -> contextlib.AbstractContextManager[None]:
    """For output around the bars, if there are any."""
    return contextlib.nullcontext() if _manager is None else _manager.hidden()
