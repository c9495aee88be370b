"""`ray._raylet`: the names in it that are public elsewhere."""

from ray import ObjectRef, ObjectRefGenerator  # noqa: F401
