"""Process titles: what ps and top show of a worker. `ray::f` while it runs f, `ray::Counter.add`, `ray::Counter` for an
actor that waits, `ray::IDLE` for a worker that does.

The title takes the place of the command line, which the launcher makes long enough (engine/launch/children.cc). The
environment behind it stays as it is: others find processes by it.
"""

import os

os.environ["SPT_NOENV"] = "1"  # read once, by the first call
import setproctitle  # noqa: E402

setproctitle.getproctitle()
del os.environ["SPT_NOENV"]

IDLE = b"IDLE"


def title(name: bytes) -> str:
    """`name`: UTF-8, which may have been cut anywhere."""
    text = name.decode(errors="replace").replace("\0", " ")
    return f"ray::{text}"


show = setproctitle.setproctitle
