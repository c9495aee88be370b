"""Output of a worker: tells the engine by which name to show it.

Before the first line that a task or actor prints, its stream carries a line `:task_name:f` or `:actor_name:Counter`,
which the node engine takes out again (engine/node/output_service.h).

Thread-safe as far as the streams are.
"""

import io
import sys

from ray_engine import _core
from ray_engine._private import definitions


class _TitledStream(io.TextIOWrapper):
    """A text stream that says who writes whenever that has changed."""

    _title = ""

    def write(self, text):
        title = _title()
        if title and title != self._title:
            self._title = title
            super().write(title + "\n")
        return super().write(text)


def _title() -> str:
    cls = definitions.actor_class()
    if cls is not None:
        return f":actor_name:{cls.__name__}"
    task = _core.current_task()
    return f":task_name:{task['name']}" if task else ""


_replaced = []  # the former streams: whoever holds one may go on using it


def install():
    """Replaces sys.stdout and sys.stderr. Lines leave when they are complete."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        stream.flush()
        _replaced.append(stream)
        # Not stream.buffer: it remembers what the descriptor was before the forkserver put a pipe there.
        buffer = open(stream.fileno(), "wb", closefd=False)
        titled = _TitledStream(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        setattr(sys, name, titled)
