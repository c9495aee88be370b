"""The job's settings: what a worker needs of its driver to find the same modules and files.

The driver pickles them when its job starts; the forkserver hands them to each worker, which applies them
before it runs anything.
"""

import os
import pickle
import random
import sys
import uuid

from ray_engine import _core


def settings(namespace: str | None, environment: dict, actor_lifetime: str) -> dict:
    """The settings of this process as a driver. Without a namespace it gets one that nobody knows."""
    directory = _working_directory()
    path = [os.path.join(directory, entry) for entry in sys.path]  # "" is the working directory
    return {
        "sys_path": list(dict.fromkeys(os.path.normpath(entry) for entry in path if os.path.isabs(entry))),
        "cwd": directory,
        "namespace": namespace or str(uuid.uuid4()),
        "has_own_namespace": not namespace,
        "actor_lifetime": actor_lifetime,
        "environment": environment,
        "alias": sys.modules.get("ray") is sys.modules["ray_engine"],
    }


def pickled(settings: dict) -> bytes:
    """For apply() in a worker."""
    return pickle.dumps(settings)


# Ray's private settings that are served: how long the end of an actor may take before its process is killed, in
# milliseconds; the size in bytes up to which a value travels inside messages, instead of lying in the store; how many
# bytes may be kept of what lost objects are made again from.
_SERVED = {
    "actor_graceful_shutdown_timeout_ms": "exit_grace_ms",
    "max_direct_call_object_size": "inline_limit",
    "max_lineage_bytes": "lineage_limit",
}


def private_settings(system_config: dict) -> dict:
    """Those that were given, in `system_config` or as environment variables (RAY_<name>)."""
    given = {ours: system_config.get(name, os.environ.get(f"RAY_{name}")) for name, ours in _SERVED.items()}
    if system_config.get("lineage_pinning_enabled") is False:
        given["lineage_limit"] = 0
    return {name: max(int(value), 0) for name, value in given.items() if value is not None}


def apply_private(settings: dict):
    """In a process that has just joined."""
    if "exit_grace_ms" in settings:
        _core.set_exit_grace(settings["exit_grace_ms"])
    if "inline_limit" in settings:
        _core.set_inline_limit(settings["inline_limit"])
    if "lineage_limit" in settings:
        _core.set_lineage_limit(settings["lineage_limit"])


def _working_directory() -> str:
    """Empty if it has been deleted: then workers start in /."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def apply(blob: bytes) -> dict:
    """In a new worker: takes over the settings, and returns them."""
    settings = pickle.loads(blob) if blob else {}
    sys.path[:] = dict.fromkeys([*settings.get("sys_path", ()), *sys.path])
    if os.path.isdir(settings.get("cwd", "")):
        os.chdir(settings["cwd"])
    if settings.get("alias"):
        from ray_engine._private import alias

        alias.install()
    _reseed()
    return settings


def _reseed():
    """Workers are forked from one process; each must draw its own random numbers."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()


def entrypoint() -> str:
    """The driver's command line, for people."""
    return " ".join(sys.argv) if sys.argv and sys.argv[0] else "interactive session"
