"""ray.util.state: what it says about actors, tasks, workers, nodes, jobs and placement groups."""

import os
import pickle
import signal

import pytest
import ray_engine as ray
from ray_engine.experimental import internal_kv
from ray_engine.util import state
from ray_engine.util.state.exception import RayStateApiException

from tests.python.waiting import wait_for


@ray.remote(num_cpus=0)
class Speaker:
    def pid(self):
        return os.getpid()

    def node(self):
        return ray.get_runtime_context().get_node_id()

    def wait(self, gate):
        gate.pass_through()

    def fail(self):
        raise ValueError("no")


def by_id(rows, field, id):
    return next((row for row in rows if row[field] == id), None)


def test_an_actor_from_birth_to_death(cluster):
    actor = Speaker.options(name="speaker").remote()
    pid = ray.get(actor.pid.remote())
    id = actor._actor_id.hex()
    alive = state.get_actor(id)
    assert (alive.state, alive.class_name, alive.name, alive.pid) == ("ALIVE", "Speaker", "speaker", pid)
    assert alive.node_id == ray.get(actor.node.remote())
    assert alive.job_id == ray.get_runtime_context().get_job_id()
    assert alive["num_restarts"] == 0 and alive.get("nothing") is None and "pid" in alive
    assert by_id(state.list_actors(filters=[("state", "=", "alive")], limit=10_000), "actor_id", id)
    ray.kill(actor)
    wait_for(lambda: state.get_actor(id).state == "DEAD")
    assert "kill" in state.get_actor(id).death_cause
    assert not by_id(state.list_actors(filters=[("state", "!=", "DEAD")], limit=10_000), "actor_id", id)


def test_a_task_from_waiting_to_its_end(cluster, gate):
    @ray.remote(num_cpus=0)
    def waits_here(gate):
        gate.pass_through()

    @ray.remote(num_cpus=0)
    def comes_after(first):
        return first

    def states(name):
        return [row.state for row in state.list_tasks(filters=[("name", "=", name)])]

    first = waits_here.remote(gate)
    after = comes_after.remote(first)
    wait_for(lambda: states("waits_here") == ["RUNNING"])
    assert states("comes_after") == ["PENDING_ARGS_AVAIL"]
    running = state.get_task(first)
    worker = state.get_worker(running.worker_id)
    assert worker.pid == running.worker_pid and worker.is_alive and worker.worker_type == "WORKER"
    assert running.type == "NORMAL_TASK" and running.node_id == worker.node_id
    gate.open()
    ray.get(after)
    assert states("waits_here") == states("comes_after") == ["FINISHED"]


def test_methods_and_failures(cluster, gate):
    actor = Speaker.remote()
    blocking = actor.wait.remote(gate)
    wait_for(lambda: state.get_task(blocking).state == "RUNNING")
    queued = actor.fail.remote()
    row = state.get_task(queued)
    assert (row.name, row.type, row.actor_id) == ("Speaker.fail", "ACTOR_TASK", actor._actor_id.hex())
    assert row.state == "SUBMITTED_TO_WORKER"
    gate.open()
    with pytest.raises(ValueError):
        ray.get(queued)
    failed = state.get_task(queued)
    assert (failed.state, failed.error_type) == ("FAILED", "TASK_EXECUTION_EXCEPTION")


def test_a_worker_that_is_killed(cluster):
    @ray.remote(num_cpus=0, max_retries=0)
    def dies():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    ref = dies.remote()
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(ref)
    task = state.get_task(ref)
    assert (task.state, task.error_type) == ("FAILED", "WorkerCrashedError")
    worker = state.get_worker(task.worker_id)
    assert not worker.is_alive and worker.exit_type == "SYSTEM_ERROR" and "SIGTERM" in worker.exit_detail


def test_tasks_of_tasks_name_their_parent(cluster):
    @ray.remote(num_cpus=0)
    def child():
        return ray.get_runtime_context().get_task_id()

    @ray.remote(num_cpus=0)
    def parent():
        ref = child.remote()
        id = ray.get(ref)
        return ray.get_runtime_context().get_task_id(), state.get_task(id).parent_task_id

    own, of_child = ray.get(parent.remote())
    assert own == of_child


def test_nodes_jobs_and_groups(cluster):
    nodes = state.list_nodes()
    assert {row.node_id for row in nodes} == {node["NodeID"] for node in ray.nodes()}
    assert nodes[0].is_head_node and state.get_node(nodes[0].node_id) == nodes[0]
    job = state.get_job(ray.get_runtime_context().get_job_id())
    assert job.status == "RUNNING" and job.driver_pid == os.getpid() and job.start_time > 0
    group = ray.util.placement_group([{"CPU": 1}], name="state-test")
    assert group.wait(60)
    row = state.get_placement_group(group.id.hex())
    assert (row.state, row.name, row.creator_job_id) == ("CREATED", "state-test", job.job_id)
    assert row.bundles[0]["unit_resources"] == {"CPU": 1} and row.bundles[0]["node_id"]
    ray.util.remove_placement_group(group)
    wait_for(lambda: state.get_placement_group(group.id.hex()).state == "REMOVED")


def test_who_holds_an_object(cluster, gate):
    @ray.remote(num_cpus=0)
    def reads(value, gate):
        gate.pass_through()

    def rows(ref):
        return state.list_objects(filters=[("object_id", "=", ref.hex())])

    ref = ray.put(b"x" * 1000)
    (own,) = rows(ref)
    assert (own.reference_type, own.local_references, own.type, own.pid) == (
        "LOCAL_REFERENCE",
        1,
        "DRIVER",
        os.getpid(),
    )
    assert own.object_size >= 1000 and own.task_status == "FINISHED" and not own.is_stored
    held = ref
    again = ray.get(ray.put([ref]))[0]
    assert rows(ref)[0].local_references == 2
    del again, held
    done = reads.remote(ref, gate)
    assert rows(ref)[0].reference_type == "USED_BY_PENDING_TASK"
    assert rows(done)[0].task_status == "PENDING"
    gate.open()
    ray.get(done)
    id = ref.hex()
    del ref, done
    wait_for(lambda: not state.list_objects(filters=[("object_id", "=", id)]))


def test_summaries(cluster):
    actor = Speaker.remote()
    ray.get(actor.pid.remote())
    summary = state.summarize_actors()["cluster"]["summary"]
    assert summary["Speaker"]["state_counts"]["ALIVE"] >= 1
    assert state.summarize_tasks()["cluster"]["summary"]["Speaker.pid"]["state_counts"]["FINISHED"] >= 1


def test_bad_questions(cluster):
    with pytest.raises(RayStateApiException, match="no field 'colour'"):
        state.list_actors(filters=[("colour", "=", "red")])
    with pytest.raises(ValueError, match="'=' or '!='"):
        state.list_actors(filters=[("state", ">", "ALIVE")])
    with pytest.raises(ValueError, match="limit"):
        state.list_tasks(limit=0)
    with pytest.raises(RayStateApiException, match="10.0.0.1:6379"):
        state.list_nodes(address="10.0.0.1:6379")
    assert state.get_actor("ff" * 16) is None
    with pytest.raises(AttributeError, match="not available"):
        state.list_logs()


def test_tasks_may_ask_too(cluster):
    list_nodes = state.list_nodes

    @ray.remote(num_cpus=0)
    def nodes():
        return [row.node_id for row in list_nodes()]

    assert ray.get(nodes.remote()) == [row.node_id for row in state.list_nodes()]
    assert pickle.loads(pickle.dumps(state.list_tasks)) is state.list_tasks


def living_workers():
    return state.list_workers(filters=[("worker_type", "=", "WORKER"), ("is_alive", "=", "True")])


def test_a_node_begins_with_a_worker_per_cpu(start):
    start(num_cpus=3)
    wait_for(lambda: len(living_workers()) == 3)


def test_a_node_without_cpus_keeps_no_worker(start):
    @ray.remote(num_cpus=0)
    def pid():
        return os.getpid()

    start(num_cpus=0)
    assert not living_workers()
    used = ray.get(pid.remote())
    wait_for(lambda: not living_workers())
    assert used in [row.pid for row in state.list_workers(filters=[("is_alive", "=", "False")])]


def test_reserved_keys_of_the_table_at_the_head(start):
    start(num_cpus=1)
    with pytest.raises(ray.exceptions.RaySystemError, match="@namespace_"):
        internal_kv._internal_kv_put("@namespace_x", "value")
    assert not internal_kv._internal_kv_put("key of this test", "value")
    assert internal_kv._internal_kv_get("key of this test") == b"value"
    assert internal_kv._internal_kv_del("key of this test") == 1
