"""`ray._private.utils`: small helpers."""

import os
import sys

from ray_engine._private.interrupts import DeferSigint  # noqa: F401


def get_num_cpus():
    return len(os.sched_getaffinity(0))


def format_error_message(exception_message, task_exception=False):
    return exception_message


def get_ray_doc_version():
    from ray_engine._private.placement import documentation_version

    return documentation_version()


def is_in_test():
    return "pytest" in sys.modules
