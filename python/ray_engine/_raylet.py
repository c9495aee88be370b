"""`ray._raylet`: names that programs written for Ray import from there, as its documentation does. All are public."""

from ray_engine import (
    ActorClassID,
    ActorID,
    ClusterID,
    DynamicObjectRefGenerator,
    FunctionID,
    JobID,
    NodeID,
    ObjectID,
    ObjectRef,
    ObjectRefGenerator,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)

RAY_NODE_ID_KEY = "ray.io/node-id"

__all__ = [
    "RAY_NODE_ID_KEY",
    "ActorClassID",
    "ActorID",
    "ClusterID",
    "DynamicObjectRefGenerator",
    "FunctionID",
    "JobID",
    "NodeID",
    "ObjectID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
]
