"""Hooks: the Python functions that the C++ side calls. One table, given to it when the process connects."""

from ray_engine._private import definitions, error_channel, errors, serialization
from ray_engine._private.output import driver_line


def table() -> dict:
    return {
        "dumps": serialization.dumps,
        "loads": serialization.loads,
        "load_function": definitions.load_function,
        "load_class": definitions.load_class,
        "make_error": errors.make_error,
        "system_error": errors.system_error,
        "raise_task_error": errors.raise_task_error,
        "driver_line": driver_line,
        "unseen_error": error_channel.unseen,
    }
