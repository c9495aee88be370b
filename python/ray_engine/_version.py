"""Versions: of the Ray API that programs see, and of the engine below it."""

from ray_engine import _core

__version__ = _core.ray_version
__engine_version__ = _core.__version__
__commit__ = _core.__commit__
