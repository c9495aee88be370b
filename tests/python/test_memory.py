"""Who holds what, and from where: `ray-engine memory`, list_objects(), what the stores tell of their memory."""

import inspect
import os

import numpy as np
import pytest
import ray_engine as ray
from ray_engine import _core
from ray_engine._private.internal_api import memory_summary
from ray_engine.cluster_utils import Cluster
from ray_engine.util import state

from tests.python.waiting import Gate, wait_for

MIB = 1 << 20


def row_of(ref):
    (row,) = state.list_objects(filters=[("object_id", "=", ref.hex())])
    return row


def line():
    """Of the caller, as it stands in a call site."""
    caller = inspect.currentframe().f_back
    return f"{__file__}:{caller.f_code.co_name}:{caller.f_lineno}"


@pytest.mark.parametrize("switch", ["RAY_ENGINE_RECORD_CALL_SITES", "RAY_record_ref_creation_sites"])
def test_the_line_that_made_a_reference(start, monkeypatch, switch):
    monkeypatch.setenv(switch, "1")
    start(num_cpus=1)

    @ray.remote
    def put_inside():
        return [ray.put(1)], line()

    @ray.remote
    class Actor:
        def method(self):
            return 1

    actor = Actor.remote()
    put, put_line = ray.put(1), line()
    task, task_line = put_inside.remote(), line()
    call, call_line = actor.method.remote(), line()
    (inner,), inner_line = ray.get(task)
    assert row_of(put).call_site.startswith(f"(put object) {put_line}")
    assert row_of(task).call_site.startswith(f"(task call) {task_line}")
    assert row_of(call).call_site.startswith(f"(actor call) {call_line}")
    sites = {row.call_site for row in state.list_objects(filters=[("object_id", "=", inner.hex())])}
    assert sites == {"disabled", f"(put object) {inner_line}"}, "the borrower has not made it"
    assert all("/ray_engine/" not in row.call_site for row in state.list_objects())
    report = memory_summary(group_by="STACK_TRACE")
    assert f"--- References of call site {row_of(put).call_site}: 1, to " in report


def test_it_is_not_recorded_unless_asked_for(cluster):
    ref = ray.put(1)
    assert row_of(ref).call_site == "disabled"


def test_the_report_names_holders_and_sorts_them(start, tmp_path):
    start(num_cpus=1, object_store_memory=64 * MIB)

    @ray.remote
    def wait_at(ref, gate):
        gate.pass_through()

    gate = Gate(tmp_path)
    large, small = ray.put(np.zeros(10 * MIB, np.uint8)), ray.put(b"x")
    done = wait_at.remote(small, gate)
    report = memory_summary()
    (title,) = [line for line in report.splitlines() if line.startswith("--- References of node")]
    assert ray.get_runtime_context().get_node_id() in title
    lines = [line for line in report.splitlines() if " DRIVER " in line]
    assert large.hex() in lines[0] and str(os.getpid()) in lines[0] and "LOCAL_REFERENCE" in lines[0]
    assert ray.get_runtime_context().get_node_id()[:8] in lines[0]
    (of_small,) = [line for line in lines if small.hex() in line]
    assert "USED_BY_PENDING_TASK" in of_small and " - " in of_small
    assert "... and " in memory_summary(num_entries=1)
    assert "--- Object stores of all nodes ---\nPlasma memory usage 10 MiB, 1 objects" in report
    assert "References" not in memory_summary(stats_only=True)
    with pytest.raises(ValueError, match="STACK_TRACE"):
        memory_summary(group_by="COLOUR")
    gate.open()
    ray.get(done)


def test_what_is_reserved_and_how_it_lies(start):
    start(num_cpus=1, object_store_memory=256 * MIB)
    array = ray.empty(20 * MIB, np.uint8)
    kept = [ray.put(np.zeros(200_000, np.uint8)) for _ in range(20)]
    report = memory_summary(stats_only=True)
    assert " MiB in chunks for small objects, 20 MiB in arrays" in report
    del kept[::2], array
    (row,) = _core.store_rows()
    assert row["resident"] >= 20 * 190_000 and row["page_tables"] > 4096 and row["processes"] >= 1
    wait_for(lambda: _core.store_rows()[0]["free_ranges"] > 5, "holes")
    assert "Reserved" in report and "page tables of" in report and " ranges; longest" in report


def test_idle_chunks_go_back(start):
    start(num_cpus=1, object_store_memory=256 * MIB)
    refs = [ray.put(np.zeros(200_000, np.uint8)) for _ in range(20)]
    assert _core.store_rows()[0]["in_chunks"] > 0
    wait_for(lambda: _core.store_rows()[0]["in_chunks"] == 0)
    del refs
    wait_for(lambda: _core.store_rows()[0]["used"] == 0)


def test_a_full_store_takes_chunks_back_before_it_spills(start):
    start(num_cpus=1, object_store_memory=64 * MIB)

    @ray.remote
    class Putter:
        def put(self, count):
            self.refs = [ray.put(np.zeros(200_000, np.uint8)) for _ in range(count)]

    putter = Putter.remote()
    ray.get(putter.put.remote(8))
    before = _core.store_rows()[0]
    assert before["in_chunks"] > 0
    arrays = [ray.empty(before[where] - 16384, np.uint8) for where in ("largest_free", "in_chunks")]
    after = _core.store_rows()[0]
    assert after["in_chunks"] == 0 and after["in_arrays"] >= sum(array.nbytes for array in arrays)
    assert after["objects"] == before["objects"], "they keep their places in memory"


def test_where_objects_lie(warmed_up):
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1, resources={"there": 1})

        @ray.remote(resources={"there": 0.1})
        def make():
            return np.zeros(MIB, np.uint8), ray.get_runtime_context().get_node_id()

        there = make.options(num_returns=2).remote()
        here = ray.put(np.zeros(MIB, np.uint8))
        own, other = ray.get_runtime_context().get_node_id(), ray.get(there[1])
        assert row_of(here).node_ids == [own] and row_of(there[0]).node_ids == [other]
        ray.get(there[0])
        wait_for(lambda: row_of(there[0]).node_ids == [other, own])
        assert row_of(ray.put(1)).node_ids == []
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_what_has_moved_between_nodes(warmed_up):
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1, resources={"there": 1})

        @ray.remote(resources={"there": 0.1})
        def make():
            return np.zeros(8 * MIB, np.uint8)

        kept = ray.get([make.remote() for _ in range(3)])
        rows = {row["node_id"]: row for row in _core.store_rows()}
        here = rows.pop(ray.get_runtime_context().get_node_id())
        (there,) = rows.values()
        assert here["pulled_objects"] == there["served_objects"] == 3
        sent, received = there["network"], here["network"]
        assert sent["object_bytes_sent"] == received["object_bytes_received"] >= sum(array.nbytes for array in kept)
        assert sent["messages_sent"] >= sent["batches_sent"] > 0 and received["messages_received"] > 0
        report = memory_summary(stats_only=True)
        assert f"Node {there['node_id']}: sent 3 objects, 24 MiB, and " in report
        assert " messages in " in report and "received 3 objects, 24 MiB, and " in report
        assert "dropped" not in report and "failed" not in report
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_alone_nothing_moves_between_nodes(start):
    start(num_cpus=1)
    assert not any(_core.store_rows()[0]["network"].values())
    report = memory_summary(stats_only=True)
    assert "Between nodes" not in report and " links between processes" in report
