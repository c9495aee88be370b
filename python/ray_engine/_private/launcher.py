"""Starting and finding engines: the ray-engine program, its arguments, and the sockets of running sessions.

An engine's address is the name of the abstract socket of one of its nodes, "ray-engine/<uid>/<session>/<node index>" (a
leading "@" is allowed).
"""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

_PACKAGE = Path(__file__).parent.parent
_SOCKET = re.compile(r"@(ray-engine/(\d+)/([^/\s]+)/(\d+))$")


def program() -> str:
    """The path of the ray-engine program that belongs to this package."""
    above = _PACKAGE.parents
    candidates = [
        os.environ.get("RAY_ENGINE_PROGRAM"),
        _PACKAGE / "_bin/ray-engine",  # a wheel
        above[1] / "bin/ray-engine",  # the build tree: <build>/python/ray_engine
        above[3] / "bin/ray-engine",  # installed: <prefix>/lib/ray-engine/python/ray_engine
    ]
    for candidate in candidates:
        if candidate and os.access(candidate, os.X_OK):
            return str(candidate)
    found = shutil.which("ray-engine")
    if found:
        return found
    raise FileNotFoundError(f"the ray-engine program that belongs to {_PACKAGE} was not found")


def arguments(settings: dict) -> list:
    """Command line options for what init() or add_node() was given; None, or {}, means the engine's own default."""
    given = {name: value for name, value in settings.items() if value is not None and value != {}}
    return [f"--{name.replace('_', '-')}={_argument(value)}" for name, value in given.items()]


def _argument(value) -> str:
    if isinstance(value, dict):
        return ",".join(f"{key}={_number(amount)}" for key, amount in value.items())
    return _number(value)


def _number(value) -> str:
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)


class Supervised:
    """A ray-engine process started by this one, with one end of a socket pair that it was given.

    It ends when that socket is closed, so it cannot outlive this process.
    """

    def __init__(self, words, fd_option: str, **popen):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [program(), f"--python={sys.executable}", *words, f"--{fd_option}={theirs.fileno()}"]
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, start_new_session=True, **popen
            )
        self.socket = ours

    def exit_code(self, timeout):
        """How it has ended; None if it still runs after that time."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout=10.0):
        """Ends it, by force if it does not end by itself."""
        self.socket.close()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- addresses ------------------------------------------------------------------------------------------------------


def socket_name(address: str) -> str:
    """The name of the socket that an address given by the user stands for."""
    if "://" in address:
        raise ConnectionError(
            f"{address!r}: Ray Client addresses are not supported; run the driver where the engine runs"
        )
    name = address.removeprefix("@")
    if not _SOCKET.match("@" + name):
        raise ConnectionError(
            f"Failed to connect to Ray cluster at {address!r}: an address of ray-engine looks like "
            f"'ray-engine/{os.getuid()}/SESSION/0'; 'auto' finds the running one, 'local' starts a new one"
        )
    return name


def find_running() -> str:
    """The socket name of the one running session of this user; an error if there is none, or more than one."""
    sessions = running_sessions()
    if not sessions:
        raise ConnectionError(
            "Could not find any running Ray instance. Please specify the one to connect to by setting `address`, "
            "or start one with `ray-engine start`."
        )
    if len(sessions) > 1:
        raise ConnectionError(
            "More than one session is running; say which one with `address` or RAY_ADDRESS: "
            + ", ".join(sorted(sessions.values()))
        )
    return next(iter(sessions.values()))


def running_sessions(table="/proc/net/unix") -> dict:
    """Session -> the socket name of its first node on this machine, for sessions of this user."""
    found: dict[str, list[tuple[int, str]]] = {}
    for line in Path(table).read_text().splitlines():
        match = _SOCKET.search(line)
        if match and int(match[2]) == os.getuid():
            found.setdefault(match[3], []).append((int(match[4]), match[1]))
    return {session: min(names)[1] for session, names in found.items()}
