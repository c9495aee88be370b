"""Allotment: what the tasks or the actor of this process were given, as their program sees it.

Units of accelerators are given to a worker for its life: they show as ids and in the variables that tell libraries
which devices there are (CUDA_VISIBLE_DEVICES and its like). Whole CPUs show as OMP_NUM_THREADS, lease by lease. All of
this is set before any of the program's code is loaded. engine/base/accelerators.cc lists the families of accelerators.
"""

import os
import sys

from ray_engine import _core

_OVERRIDE_ON_ZERO = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"  # who has no accelerator is to see none

# Resource -> ids of what the node sees, where a variable said so when the worker was started.
_visible: dict[str, list[str]] = {}
_units: dict[str, list[int]] = {}  # resource -> numbers of this worker's units
_sets_threads = False


def begin(units: dict, sets_threads: bool):
    """In a new worker. `units`: {resource: [number, ...]}. `sets_threads`: nobody has chosen OMP_NUM_THREADS, so it
    follows the CPUs of each task."""
    global _units, _sets_threads
    _units, _sets_threads = units, sets_threads
    families = _core.accelerators()
    _visible.update({resource: visible for resource, *_, visible in families if visible is not None})
    for resource, variable, noset, *_ in families:
        if (units.get(resource) or _is_true(_OVERRIDE_ON_ZERO)) and not _is_true(noset):
            os.environ[variable] = ",".join(map(str, ids(resource)))


def ids(resource: str) -> list:
    """Ids of the units of this resource: numbers, or where a variable says what the node sees, strings out of that."""
    numbers = _units.get(resource, [])
    visible = _visible.get(resource)
    if visible is None:
        return list(numbers)
    if any(number >= len(visible) for number in numbers):  # a runtime_env shows less than the node has
        return list(visible)
    return [visible[number] for number in numbers]


def all_ids() -> dict:
    """{resource: ids as strings}, for every unit resource."""
    names = [*(family[0] for family in _core.accelerators()), *_core.unit_resources()]
    return {name: [str(id) for id in ids(name)] for name in names}


def set_threads(count: int):
    """Libraries shall use so many threads."""
    if not _sets_threads:
        return
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "numpy" in sys.modules:  # what is loaded already has looked at the variable then
        from threadpoolctl import threadpool_limits

        threadpool_limits(count)


def _is_true(variable) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true")


def check_node(num_gpus, resources: dict):
    """Raises ValueError if a node is to have more accelerators than the variables of this process list."""
    for resource, variable, _, _, visible in _core.accelerators():
        wanted = num_gpus if resource == "GPU" else resources.get(resource)
        if wanted and visible is not None and wanted > len(visible):
            raise ValueError(
                f"Attempting to start a node with {wanted} {resource}, but {variable} contains {visible}. Ask for at "
                f"most {len(visible)}, or unset {variable}."
            )
