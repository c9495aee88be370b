"""Types for annotations."""

from ray_engine._core import ObjectRef

__all__ = ["ObjectRef"]
