"""Ids: sizes, nil, conversions, comparison."""

import pickle

import pytest
import ray_engine as ray

SIZES = {
    ray.JobID: 4,
    ray.ActorID: 16,
    ray.TaskID: 24,
    ray.PlacementGroupID: 18,
    ray.NodeID: 28,
    ray.WorkerID: 28,
    ray.FunctionID: 28,
    ray.ActorClassID: 28,
    ray.ClusterID: 28,
    ray.ObjectRef: 28,
}


@pytest.mark.parametrize("kind", SIZES)
def test_conversions(kind):
    assert kind.size() == SIZES[kind]
    one = kind.from_random()
    assert len(one.binary()) == SIZES[kind]
    assert one == kind.from_binary(one.binary()) == kind.from_hex(one.hex())
    assert hash(one) == hash(kind.from_hex(one.hex()))
    assert one.hex() == one.binary().hex() and one.hex() in repr(one)
    assert not one.is_nil() and one != kind.from_random()


@pytest.mark.parametrize("kind", SIZES)
def test_nil_is_all_ones(kind):
    assert kind.nil().is_nil()
    assert kind.nil().binary() == b"\xff" * SIZES[kind]


@pytest.mark.parametrize("kind", SIZES)
def test_wrong_size_is_refused(kind):
    with pytest.raises(ValueError, match="needs to have length"):
        kind(b"too short"[:3])


def test_kinds_differ_though_bytes_are_equal():
    assert ray.NodeID(b"x" * 28) != ray.WorkerID(b"x" * 28)


def test_ids_name_what_they_belong_to():
    job = ray.JobID.from_int(7)
    assert job.int() == 7
    actor = ray.ActorID.of(job)
    assert actor.job_id == job
    task = ray.TaskID(b"12345678" + actor.binary())
    assert task.actor_id() == actor and task.job_id() == job
    ref = ray.ObjectRef(task.binary() + b"\1\0\0\0")
    assert ref.task_id() == task and ref.job_id() == job


def test_ids_pickle():
    one = ray.NodeID.from_random()
    assert pickle.loads(pickle.dumps(one)) == one
