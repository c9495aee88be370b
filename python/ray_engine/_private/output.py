"""Worker output at the driver: each line with what the engine puts in front, `(name pid=7, ip=...)`."""

import os
import sys

_CYAN, _RESET = "\x1b[36m", "\x1b[0m"


def driver_line(is_stderr: bool, prefix: str, text: str):
    """Prints lines that a worker wrote, or that the engine has to say."""
    stream = sys.stderr if is_stderr else sys.stdout
    if stream is None:
        return
    head = _head(prefix, stream)
    try:
        stream.write("".join(f"{head}{line}\n" for line in text.splitlines()))
        stream.flush()
    except (OSError, ValueError):  # closed: the driver does not want it any more
        pass


def _head(prefix, stream) -> str:
    if not prefix:
        return ""
    colour = os.environ.get("RAY_COLOR_PREFIX") != "0" and stream.isatty()
    return f"{_CYAN}{prefix}{_RESET} " if colour else f"{prefix} "
