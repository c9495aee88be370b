"""Call sites: whether references remember the line of the program that made them, for `ray-engine memory`.

It is off, and costs nothing then, unless RAY_ENGINE_RECORD_CALL_SITES=1 (or Ray's RAY_record_ref_creation_sites=1) is
in the environment of the process that makes the reference.
"""

import os

from ray_engine import _core

_SWITCHES = ("RAY_ENGINE_RECORD_CALL_SITES", "RAY_record_ref_creation_sites")
_OWN_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def are_recorded() -> bool:
    return any(os.environ.get(name, "0").lower() in ("1", "true") for name in _SWITCHES)


def begin() -> None:
    """Of this session of this process."""
    _core.record_call_sites(on=are_recorded(), own_folder=_OWN_FOLDER)
