"""The job's settings: what a worker needs of its driver to find the same modules and files.

The driver pickles them (config()) when its job starts; the forkserver hands them to each worker, which applies them
before it runs anything.
"""

import os
import pickle
import random
import sys


def config(namespace: str, environment: dict, system_config: dict) -> bytes:
    """The settings of this process as a driver. `system_config`: those of Ray's private settings that it was given."""
    directory = _working_directory()
    path = [os.path.join(directory, entry) for entry in sys.path]  # "" is the working directory
    return pickle.dumps(
        {
            "sys_path": list(dict.fromkeys(os.path.normpath(entry) for entry in path if os.path.isabs(entry))),
            "cwd": directory,
            "namespace": namespace,
            "environment": environment,
            "alias": sys.modules.get("ray") is sys.modules["ray_engine"],
            **_exit_grace(system_config),
        }
    )


def _exit_grace(system_config) -> dict:
    """How long the end of an actor may take before its process is killed, in milliseconds."""
    name = "actor_graceful_shutdown_timeout_ms"
    given = system_config.get(name, os.environ.get(f"RAY_{name}"))
    return {} if given is None else {"exit_grace_ms": int(given)}


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
