"""Versions: of the Ray API that programs see, and of the engine below it."""

from ray_engine._core import __commit__ as __commit__
from ray_engine._core import __version__ as __engine_version__  # noqa: F401

__version__ = "2.60.0"
