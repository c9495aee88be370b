"""ray.timeline(): when tasks ran."""

import json
import time

import pytest
import ray_engine as ray
from ray_engine.util import state

from tests.python.waiting import wait_for


def events_of(name):
    return [event for event in ray.timeline() if event["name"] == name]


def span(event):
    return event["ts"], event["ts"] + event["dur"]


def test_a_task_lasts_from_its_start_to_its_end(cluster):
    @ray.remote(num_cpus=0)
    def works_a_while():
        begin = time.time()
        time.sleep(0.05)
        return begin, time.time(), ray.get_runtime_context().get_worker_id()

    begin, end, worker = ray.get(works_a_while.remote())
    (event,) = events_of("works_a_while")
    start, stop = span(event)
    assert event["ph"] == "X" and event["cat"] == "task::works_a_while"
    assert event["tid"] == f"worker:{worker}"
    assert event["pid"] in {node["NodeManagerAddress"] for node in ray.nodes()}
    assert event["args"]["state"] == "FINISHED" and event["args"]["actor_id"] is None
    assert event["args"]["job_id"] == ray.get_runtime_context().get_job_id()
    # The clocks may be read a moment apart; a tenth of a second is far more than that.
    assert start / 1e6 - 0.1 < begin and end < stop / 1e6 + 0.1
    assert event["dur"] >= 50_000


PARTS = ["task:deserialize_arguments", "task:execute", "task:store_outputs"]


def parts_of(name):
    """The parts of the one task of that name."""
    (task,) = events_of(name)
    id = task["args"]["task_id"]
    parts = {event["cat"]: event for event in ray.timeline() if event["args"]["task_id"] == id}
    return task, [parts[name] for name in PARTS]


def test_the_parts_of_a_task_make_up_the_whole(cluster):
    class SlowToLoad:
        def __reduce__(self):
            return time.sleep, (0.05,)

    class SlowToStore:
        def __reduce__(self):
            time.sleep(0.05)
            return str, ()

    @ray.remote(num_cpus=0)
    def has_parts(slow, padding):
        time.sleep(0.05)
        return SlowToStore()

    ray.get(has_parts.remote(SlowToLoad(), b"x" * 2000))
    task, parts = parts_of("has_parts")
    assert all(part["dur"] >= 49_000 for part in parts), parts
    for one, next in zip(parts, parts[1:], strict=False):
        assert span(one)[1] == pytest.approx(span(next)[0], abs=1)
    assert parts[0]["ts"] == task["ts"] and span(parts[2])[1] == pytest.approx(span(task)[1], abs=1)
    assert all((part["pid"], part["tid"]) == (task["pid"], task["tid"]) for part in parts)
    assert {part["args"]["name"] for part in parts} == {"has_parts"}


def test_the_wait_for_a_stored_argument_is_a_part(cluster):
    @ray.remote(num_cpus=0)
    def reads_stored(value):
        time.sleep(0.02)

    ray.get(reads_stored.remote(ray.put(b"x" * 500_000)))
    _, (load, execute, store) = parts_of("reads_stored")
    assert load["dur"] > 0 and execute["dur"] >= 19_000 and store["dur"] == 0


def test_a_small_task_is_all_execution(cluster):
    @ray.remote(num_cpus=0)
    def adds_one(x):
        return x + 1

    ray.get(adds_one.remote(1))
    task, (load, execute, store) = parts_of("adds_one")
    assert (load["dur"], store["dur"]) == (0, 0) and execute["dur"] == pytest.approx(task["dur"], abs=1)


def test_tasks_of_one_worker_do_not_overlap(cluster):
    @ray.remote(num_cpus=0)
    class InTurn:
        def step(self):
            return None

    actor = InTurn.remote()
    ray.get([actor.step.remote() for _ in range(20)])
    spans = sorted(map(span, events_of("InTurn.step")))
    assert len(spans) == 20
    assert all(first[1] <= second[0] for first, second in zip(spans, spans[1:], strict=False))
    actor_ids = {event["args"]["actor_id"] for event in events_of("InTurn.step")}
    assert actor_ids == {actor._actor_id.hex()}


def test_a_task_that_runs_lasts_until_now(cluster, gate):
    @ray.remote(num_cpus=0)
    def still_runs(gate):
        gate.pass_through()

    ref = still_runs.remote(gate)
    gate.wait_for_arrival()
    (event,) = wait_for(lambda: events_of("still_runs"))
    assert event["args"]["state"] == "RUNNING" and span(event)[1] / 1e6 <= time.time() + 0.1
    gate.open()
    ray.get(ref)
    wait_for(lambda: events_of("still_runs")[0]["args"]["state"] == "FINISHED")


def test_a_failed_task_is_marked_and_one_that_never_ran_is_left_out(cluster, gate):
    @ray.remote(num_cpus=0)
    def fails():
        raise ValueError("no")

    @ray.remote(num_cpus=0)
    def needs(value):
        return value

    with pytest.raises(ValueError):
        ray.get(needs.remote(fails.remote()))
    (event,) = events_of("fails")
    assert event["args"]["state"] == "FAILED" and event["cname"] == "terrible"
    assert not events_of("needs")


def test_the_events_go_to_a_file(cluster, tmp_path):
    @ray.remote(num_cpus=0)
    def goes_to_a_file():
        return None

    ray.get(goes_to_a_file.remote())
    path = tmp_path / "timeline.json"
    assert ray.timeline(str(path)) is None
    assert any(event["name"] == "goes_to_a_file" for event in json.loads(path.read_text()))


def test_the_state_api_has_the_times_too(cluster):
    @ray.remote(num_cpus=0)
    def has_times():
        time.sleep(0.01)

    ray.get(has_times.remote())
    (row,) = state.list_tasks(filters=[("name", "=", "has_times")])
    assert abs(row.start_time_ms / 1000 - time.time()) < 600
    assert row.end_time_ms - row.start_time_ms >= 10 - 1
