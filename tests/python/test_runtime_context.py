"""What a process knows of itself; ids; the names of the API."""

import os
import subprocess
import sys

import pytest
import ray_engine as ray


def test_of_a_driver(cluster):
    context = ray.get_runtime_context()
    assert len(context.get_node_id()) == 56 and len(context.get_job_id()) == 8 and len(context.get_worker_id()) == 56
    assert context.get_actor_id() is None
    assert context.get_node_id() in {node["NodeID"] for node in ray.nodes()}


def test_of_a_task(cluster):
    @ray.remote
    def look():
        context = ray.get_runtime_context()
        return {
            "job": context.get_job_id(), "node": context.get_node_id(), "worker": context.get_worker_id(),
            "task": context.get_task_id(), "name": context.get_task_name(), "actor": context.get_actor_id(),
            "pid": os.getpid(),
        }  # fmt: skip

    first, second = ray.get([look.remote(), look.options(name="renamed").remote()])
    assert first["job"] == ray.get_runtime_context().get_job_id()
    assert first["worker"] != ray.get_runtime_context().get_worker_id()
    assert len(first["task"]) == 48 and first["task"] != second["task"]
    assert second["name"] == "renamed" and "look" in first["name"]
    assert first["actor"] is None


def test_of_an_actor(cluster):
    @ray.remote
    class Actor:
        def look(self):
            context = ray.get_runtime_context()
            return context.get_actor_id(), context.get_actor_name(), context.namespace, context.get_task_id()

    actor = Actor.options(name="known", namespace="somewhere").remote()
    actor_id, name, _, task = ray.get(actor.look.remote())
    assert actor_id == actor._actor_id.hex() and len(actor_id) == 32
    assert name == "known" and task


def test_ids():
    sizes = {"ObjectID": 28, "TaskID": 24, "ActorID": 16, "JobID": 4, "NodeID": 28, "WorkerID": 28, "FunctionID": 28,
             "PlacementGroupID": 18, "ActorClassID": 28, "ClusterID": 28, "UniqueID": 28}  # fmt: skip
    for name, size in sizes.items():
        kind = getattr(ray, name)
        value = bytes(range(size))
        identity = kind(value)
        assert kind.size() == size, name
        assert identity.binary() == value and identity.hex() == value.hex()
        assert identity == kind.from_hex(value.hex()) and hash(identity) == hash(kind(value))
        assert kind.nil().is_nil() and not identity.is_nil() and kind.nil().binary() == b"\xff" * size
        with pytest.raises(ValueError):
            kind(b"short")


def test_the_other_name_is_the_same_module():
    code = """
import ray_engine
from ray_engine._private import alias
alias.install()
import ray, ray.exceptions, ray.actor
import ray_engine.exceptions, ray_engine.actor
assert ray is ray_engine and ray.exceptions is ray_engine.exceptions and ray.actor is ray_engine.actor
from ray.exceptions import RayTaskError
assert RayTaskError is ray_engine.exceptions.RayTaskError

ray.init(num_cpus=1)

@ray.remote
def f():
    import ray as there
    import ray_engine as here
    return there is here and there.is_initialized()

print(ray.get(f.remote()), ray.__version__)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["True", "2.60.0"], done.stderr


def test_versions():
    assert ray.__version__ == "2.60.0"
    assert ray.__engine_version__.count(".") == 2


def test_missing_parts_of_the_api_say_so():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        ray.nonsense  # noqa: B018
