"""Ray's low-level functions: free(), memory_summary()."""

from ray_engine._private.internal_api import free, memory_summary

__all__ = ["free", "memory_summary"]
