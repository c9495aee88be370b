"""Placement groups and label selectors: reservation, what runs in a group, its end."""

import pytest
import ray_engine as ray
from ray_engine.util import (
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray_engine.util.scheduling_strategies import (
    In,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

from tests.python.waiting import wait_for


@pytest.fixture
def nodes():
    """Three nodes of 2 CPUs; two of them have a zone."""
    from ray_engine.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=2, labels={"zone": "a"})
    cluster.add_node(num_cpus=2, labels={"zone": "b"})
    ray.init(address=cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def racks():
    """Two nodes in each of the racks a (of 2 CPUs) and b (of 1), and a large one without."""
    from ray_engine.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8})
    nodes = {
        rack: [cluster.add_node(num_cpus=cpus, labels={"rack": rack}) for _ in range(2)]
        for rack, cpus in (("a", 2), ("b", 1))
    }
    ray.init(address=cluster.address)
    yield {"cluster": cluster, **nodes}
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def four_cpus():
    ray.init("local", num_cpus=4)
    yield
    ray.shutdown()


def rack_of_each(group):
    racks = {node["NodeID"]: node["Labels"].get("rack") for node in ray.nodes()}
    return [racks[node] for node in places(group)]


@ray.remote
def where():
    return ray.get_runtime_context().get_node_id()


@ray.remote
def group_of_child():
    @ray.remote(num_cpus=0)
    def child():
        return get_current_placement_group()

    return ray.get(child.remote())


@ray.remote(num_cpus=1)
class Member:
    def group(self):
        return get_current_placement_group()


def in_group(group, index=-1, capture=None):
    return PlacementGroupSchedulingStrategy(group, index, capture)


def places(group):
    assert group.wait(30)
    return list(placement_group_table(group)["bundles_to_node_id"].values())


def free_cpus():
    return ray.available_resources().get("CPU", 0)


def test_a_group_reserves_its_resources(four_cpus):
    group = placement_group([{"CPU": 1}, {"CPU": 2}])
    assert ray.get(group.ready()) == group
    assert (group.bundle_count, group.bundle_specs) == (2, [{"CPU": 1}, {"CPU": 2}])
    assert free_cpus() == 1 and ray.cluster_resources()["CPU"] == 4
    row = placement_group_table(group)
    assert (row["state"], row["strategy"], row["bundles"]) == ("CREATED", "PACK", {0: {"CPU": 1}, 1: {"CPU": 2}})
    remove_placement_group(group)
    remove_placement_group(group)
    wait_for(lambda: free_cpus() == 4)
    assert placement_group_table(group)["state"] == "REMOVED"


def test_tasks_run_in_their_bundle(nodes):
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    for index, node in enumerate(places(group)):
        assert ray.get(where.options(scheduling_strategy=in_group(group, index)).remote()) == node
    assert ray.get(where.options(scheduling_strategy=in_group(group)).remote()) in places(group)


@pytest.mark.parametrize("strategy, count", [("PACK", 1), ("STRICT_PACK", 1), ("SPREAD", 2), ("STRICT_SPREAD", 2)])
def test_strategies(nodes, strategy, count):
    assert len(set(places(placement_group([{"CPU": 1}] * 2, strategy=strategy)))) == count


def test_what_does_not_fit_waits(nodes):
    group = placement_group([{"CPU": 1}] * 4, strategy="STRICT_SPREAD")
    assert not group.wait(0.2)
    assert placement_group_table(group)["state"] == "PENDING"
    nodes.add_node(num_cpus=1)
    assert len(set(places(group))) == 4


def test_bundles_are_rescheduled_when_their_node_goes(nodes):
    extra = nodes.add_node(num_cpus=4)
    group = placement_group([{"CPU": 3}])
    assert places(group) == [extra.node_id]
    nodes.remove_node(extra)
    wait_for(lambda: placement_group_table(group)["state"] == "RESCHEDULING")
    other = nodes.add_node(num_cpus=4)
    assert places(group) == [other.node_id]


def test_children_are_captured_if_asked_for(four_cpus):
    group = placement_group([{"CPU": 1}])
    strategy = in_group(group, capture=True)
    assert ray.get(group_of_child.options(scheduling_strategy=strategy).remote()) == group
    assert ray.get(group_of_child.options(scheduling_strategy=in_group(group)).remote()) is None
    assert ray.get(group_of_child.remote()) is None
    assert get_current_placement_group() is None


def test_actors_end_with_their_group(four_cpus):
    group = placement_group([{"CPU": 1}])
    member = Member.options(scheduling_strategy=in_group(group)).remote()
    assert ray.get(member.group.remote()) == group
    remove_placement_group(group)

    def is_dead():
        try:
            ray.get(member.group.remote())
            return False
        except ray.exceptions.RayActorError:
            return True

    wait_for(is_dead)
    wait_for(lambda: free_cpus() == 4)


def test_a_removed_group_takes_no_tasks(four_cpus):
    group = placement_group([{"CPU": 1}])
    assert group.wait(30)
    remove_placement_group(group)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        ray.get(where.options(scheduling_strategy=in_group(group)).remote())


def test_names(four_cpus):
    group = placement_group([{"CPU": 1}], name="pool")
    assert get_placement_group("pool") == group
    with pytest.raises(ray.exceptions.RaySystemError, match="pool"):
        placement_group([{"CPU": 1}], name="pool")
    remove_placement_group(group)
    with pytest.raises(ValueError):
        get_placement_group("pool")


@pytest.mark.parametrize(
    "arguments",
    [
        {"bundles": []},
        {"bundles": [{}]},
        {"bundles": [{"CPU": 0}]},
        {"bundles": [{"CPU": -1}]},
        {"bundles": {"CPU": 1}},
        {"bundles": [{"CPU": 1}], "strategy": "SOMEHOW"},
        {"bundles": [{"CPU": 1}], "lifetime": "long"},
        {"bundles": [{"CPU": 1}], "bundle_label_selector": []},
        {"bundles": [{"CPU": 1}], "strategy": "PACK", "topology_strategy": {"ray.io/node-id": "PACK"}},
        {"bundles": [{"CPU": 1}], "topology_strategy": ["ray.io/node-id"]},
        {"bundles": [{"CPU": 1}], "topology_strategy": {"": "STRICT_PACK"}},
        {"bundles": [{"CPU": 1}], "topology_strategy": {"ray.io/node-id": "SOMEHOW"}},
        {"bundles": [{"CPU": 1}], "topology_strategy": {"rack": "SPREAD"}},
        {"bundles": [{"CPU": 1}], "topology_strategy": {"rack": "STRICT_PACK", "row": "STRICT_PACK"}},
    ],
)
def test_wrong_arguments(four_cpus, arguments):
    with pytest.raises(ValueError):
        placement_group(**arguments)


def test_requests_that_fit_no_bundle(four_cpus):
    group = placement_group([{"CPU": 1}])
    with pytest.raises(ValueError, match="cannot fit"):
        where.options(num_cpus=2, scheduling_strategy=in_group(group)).remote()
    with pytest.raises(ValueError, match="index"):
        where.options(scheduling_strategy=in_group(group, 1)).remote()


def test_label_selectors(nodes):
    zones = {node["Labels"].get("zone"): node["NodeID"] for node in ray.nodes()}
    assert ray.get(where.options(label_selector={"zone": "b"}).remote()) == zones["b"]
    assert ray.get(where.options(label_selector={"zone": "!in(a,b)"}).remote()) == zones[None]
    hard = NodeLabelSchedulingStrategy({"zone": In("a", "c")})
    assert ray.get(where.options(scheduling_strategy=hard).remote()) == zones["a"]
    soft = NodeLabelSchedulingStrategy({"zone": NotIn("a")}, soft={"zone": In("b")})
    assert ray.get(where.options(scheduling_strategy=soft).remote()) == zones["b"]
    group = placement_group([{"CPU": 1}], bundle_label_selector=[{"zone": "a"}])
    assert places(group) == [zones["a"]]
    fallbacks = [{"label_selector": {"zone": "x"}}, {"label_selector": {"zone": "b"}}]
    assert ray.get(where.options(label_selector={"zone": "y"}, fallback_strategy=fallbacks).remote()) == zones["b"]
    assert ray.get(where.options(label_selector={"zone": "a"}, fallback_strategy=fallbacks).remote()) == zones["a"]


def test_a_group_inside_one_domain(racks):
    in_one_rack = {"rack": "STRICT_PACK", "ray.io/node-id": "STRICT_SPREAD"}
    group = placement_group([{"CPU": 1}] * 2, topology_strategy=in_one_rack)
    ray.get(group.ready())
    assert rack_of_each(group) == ["a", "a"] and len(set(places(group))) == 2
    other = placement_group([{"CPU": 1}] * 3, topology_strategy={"rack": "STRICT_PACK"})
    assert not other.wait(0.1), "no rack has three CPUs left"
    remove_placement_group(group)
    ray.get(other.ready())
    assert rack_of_each(other) == ["a"] * 3


def test_a_domain_that_is_lost_is_left(racks):
    group = placement_group([{"CPU": 1}] * 2, topology_strategy={"rack": "STRICT_PACK", "ray.io/node-id": "SPREAD"})
    ray.get(group.ready())
    assert rack_of_each(group) == ["a", "a"]
    for node in racks["a"]:
        racks["cluster"].remove_node(node)
    wait_for(lambda: placement_group_table(group)["state"] == "CREATED" and rack_of_each(group) == ["b", "b"])


def test_nothing_begins_in_a_removed_group(four_cpus):
    group = placement_group([{"CPU": 1}])
    in_it = where.options(scheduling_strategy=in_group(group))
    ray.get(in_it.remote())  # its lease is still held when the group goes
    remove_placement_group(group)
    with pytest.raises(ray.exceptions.TaskPlacementGroupRemoved):
        ray.get(in_it.remote())
    assert placement_group_table(group)["state"] == "REMOVED"


def test_a_bundle_index_needs_a_group(cluster):
    with pytest.raises(ValueError, match="bundle index must be -1, got 0"):
        ray.remote(lambda: 1).options(placement_group_bundle_index=0).remote()
