"""Worker output at the driver: each line with what the engine puts in front, `(name pid=7, ip=...)`.

Lines that tell of a progress bar in a worker (experimental/tqdm_ray.py) are drawn instead of printed.
"""

import os
import sys

from ray_engine._private import error_channel, progress_bars

_CYAN, _RESET = "\x1b[36m", "\x1b[0m"


def driver_line(is_stderr: bool, prefix: str, text: str, kind: str = ""):
    """Prints lines that a worker wrote, or that the engine has to say: an error of that kind, if one is given."""
    if kind:
        error_channel.deliver(kind, text.removesuffix("\n"))
    lines = text.splitlines()
    if progress_bars.BAR_MARK in text:
        lines = [line for line in lines if not progress_bars.draw_line(line)]
    error_channel.deliver_lines(is_stderr, prefix, lines)
    stream = sys.stderr if is_stderr else sys.stdout
    if stream is None or not lines:
        return
    head = _head(prefix, stream)
    try:
        with progress_bars.hidden():
            stream.write("".join(f"{head}{line}\n" for line in lines))
            stream.flush()
    except (OSError, ValueError):  # closed: the driver does not want it any more
        pass


def _head(prefix, stream) -> str:
    if not prefix:
        return ""
    colour = os.environ.get("RAY_COLOR_PREFIX") != "0" and stream.isatty()
    return f"{_CYAN}{prefix}{_RESET} " if colour else f"{prefix} "
