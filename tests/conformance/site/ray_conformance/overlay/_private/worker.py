"""`ray._private.worker`: the few attributes of the process that tests look at, told by the runtime context."""

import pickle  # noqa: F401  (tests use it from here)
import sys

import ray
from ray import get, init, is_initialized, put, remote, shutdown, wait  # noqa: F401
from ray_conformance.stubs import StubModule
from ray_engine import _core
from ray_engine._private import error_channel
from ray_engine.util.state.common import TASK_STATES

SCRIPT_MODE, WORKER_MODE, LOCAL_MODE = 0, 1, 2


class _Node:
    @property
    def unique_id(self):
        return ray.get_runtime_context().get_node_id()

    @property
    def node_id(self):
        return self.unique_id

    @property
    def node_ip_address(self):
        return _own_node()["NodeManagerAddress"]

    @property
    def plasma_store_socket_name(self):
        return _own_node()["ObjectStoreSocketName"]


class _CoreWorker:
    """`global_worker.core_worker`: what this process holds, as the engine counts it."""

    def get_all_reference_counts(self):
        return {
            row["object_id"].encode(): {"local": row["local_references"], "submitted": row["submitted"]}
            for row in _core.own_references()
            if not row["actor_handle"] and (row["local_references"] or row["submitted"])
        }

    def get_memory_store_size(self):
        own = [row for row in _core.own_references() if not row["actor_handle"]]
        return sum(1 for row in own if row["ready"] and not row["is_stored"])

    def object_exists(self, ref, memory_store_only=False):
        from ray.util.state import list_objects

        return any(row.is_stored for row in list_objects(filters=[("object_id", "=", ref.hex())]))

    def get_pending_children_task_ids(self, parent):
        children = [task for task in _core.own_tasks() if task["parent_task_id"] == parent.hex()]
        pending = (task for task in children if TASK_STATES[task["state"]] not in ("FINISHED", "FAILED"))
        return [ray.TaskID.from_hex(task["task_id"]) for task in pending]

    def __getattr__(self, name):
        from ray_conformance.stubs import Missing

        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(f"ray._private.worker.global_worker.core_worker.{name}")


class _Worker:
    """`global_worker`: identity of this process. What only Ray has is served as missing."""

    node = _Node()
    core_worker = _CoreWorker()

    @property
    def connected(self):
        return ray.is_initialized()

    @property
    def current_job_id(self):
        if not ray.is_initialized():
            return ray.JobID.nil()
        return ray.JobID.from_hex(ray.get_runtime_context().get_job_id())

    @property
    def current_node_id(self):
        return ray.NodeID.from_hex(ray.get_runtime_context().get_node_id())

    @property
    def task_depth(self):
        from ray_engine import _core

        return (_core.current_task() or {"depth": 0})["depth"]

    @property
    def worker_id(self):
        return bytes.fromhex(ray.get_runtime_context().get_worker_id())

    @property
    def namespace(self):
        return ray.get_runtime_context().namespace

    @property
    def node_ip_address(self):
        return self.node.node_ip_address

    def __getattr__(self, name):
        from ray_conformance.stubs import Missing

        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(f"ray._private.worker.global_worker.{name}")


def _own_node():
    own = ray.get_runtime_context().get_node_id()
    return next(node for node in ray.nodes() if node["NodeID"] == own)


class _Module(StubModule):
    """This module; `_unhandled_error_handler` is the engine's, and can be replaced from here."""

    @property
    def _unhandled_error_handler(self):
        return error_channel.on_unseen

    @_unhandled_error_handler.setter
    def _unhandled_error_handler(self, handler):
        error_channel.on_unseen = handler


sys.modules[__name__].__class__ = _Module
global_worker = _Worker()
_global_node = global_worker.node
