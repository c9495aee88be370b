"""Output of a worker: tells the engine by which name to show it.

Before the first line that a task or actor prints, both streams carry a line `:task_name:f` or `:actor_name:Counter`,
which the node engine takes out again (engine/node/output_service.h). A line that was left open is ended before it.

Thread-safe as far as the streams are.
"""

import io
import sys

from ray_engine import _core
from ray_engine._private import own_actor


class _TitledStream(io.TextIOWrapper):
    """A text stream that says who writes whenever that has changed."""

    _title = ""
    _line_is_open = False

    def write(self, text):
        title = _title()
        if title and title != self._title:
            for stream in _streams:
                stream.announce(title)
        size = super().write(text)
        if text:
            self._line_is_open = not text.endswith("\n")
        return size

    def end_line(self):
        """Lets a line leave that has been left open."""
        try:
            if self._line_is_open:
                super().write("\n")
        except (OSError, ValueError):  # closed by user code
            pass
        self._line_is_open = False

    def announce(self, title):
        """Says on a line of its own who writes from now on."""
        try:
            super().write(f"\n{title}\n" if self._line_is_open else f"{title}\n")
        except (OSError, ValueError):  # closed by user code
            pass
        self._title = title
        self._line_is_open = False


def _title() -> str:
    shown = own_actor.actor_shown()
    if shown is not None:
        return f":actor_name:{shown}"
    task = _core.current_task()
    return f":task_name:{task['name']}" if task else ""


def end_lines():
    """Called when the worker has nothing to do: what has been printed until then shows at the driver."""
    for stream in _streams:
        stream.end_line()


_streams: list = []  # those of this process
_replaced: list = []  # the former streams: whoever holds one may go on using it


def install():
    """Replaces sys.stdout and sys.stderr. Lines leave when they are complete."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.flush()
        _replaced.append(stream)
        # Not stream.buffer: it remembers what the descriptor was before the forkserver put a pipe there.
        buffer = open(stream.fileno(), "wb", closefd=False)
        titled = _TitledStream(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        _streams.append(titled)
        setattr(sys, name, titled)
