"""`ray._private.internal_api`: what the stores hold."""

from ray_engine._private.internal_api import free, memory_summary

__all__ = ["free", "memory_summary"]
