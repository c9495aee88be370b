"""`ray._raylet`: the names in it that are public elsewhere."""

from ray import ObjectRef, ObjectRefGenerator  # noqa: F401

RAY_NODE_ID_KEY = "ray.io/node-id"
