"""Ray's low-level functions: free()."""

from ray_engine._private.internal_api import free

__all__ = ["free"]
