"""Several nodes on this machine, added and removed at run time by Cluster; no MPI."""

import os
import signal
import threading
import time

import numpy as np
import psutil
import pytest
import ray_engine as ray
from ray_engine import _core
from ray_engine.cluster_utils import Cluster
from ray_engine.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tests.python import leaks
from tests.python.waiting import wait_for

MARK = os.environ[leaks.MARK_NAME]


@pytest.fixture
def nodes(start):
    """nodes(a, b, ...): a cluster of nodes with these arguments, which the driver has joined."""
    machine = leaks.Machine(MARK)
    cluster = Cluster()

    def begin(*arguments):
        for node in arguments:
            cluster.add_node(**node)
        ray.init(address=cluster.address)
        return cluster

    yield begin
    ray.shutdown()
    cluster.shutdown()
    machine.check()


def where():
    return ray.get_runtime_context().get_node_id()


def received():
    """Bytes of objects that have come to each node from others."""
    return {row["node_id"]: row["network"]["object_bytes_received"] for row in _core.store_rows()}


def test_nodes_are_listed(nodes):
    cluster = nodes({"num_cpus": 1}, {"num_cpus": 2, "resources": {"special": 1}})
    assert ray.cluster_resources()["CPU"] == 3 and ray.cluster_resources()["special"] == 1
    assert sum(node["Alive"] for node in ray.nodes()) == 2
    assert {node.node_id for node in cluster.list_all_nodes()} == {node["NodeID"] for node in ray.nodes()}
    assert len({node["ObjectStoreSocketName"] for node in ray.nodes()} | {node["NodeID"] for node in ray.nodes()}) >= 2


def test_tasks_go_where_their_resources_are(nodes):
    cluster = nodes({"num_cpus": 1}, {"num_cpus": 1, "resources": {"a": 1}}, {"num_cpus": 1, "resources": {"b": 1}})
    _, a, b = cluster.list_all_nodes()
    f = ray.remote(where)
    places = ray.get([f.options(resources={name: 0.1}).remote() for name in "abab"], timeout=60)
    ids = {name: {n["NodeID"] for n in ray.nodes() if name in n["Resources"]} for name in "ab"}
    assert [{place} for place in places] == [ids[name] for name in "abab"]
    assert {a.node_id, b.node_id} == ids["a"] | ids["b"]


def test_values_travel_between_nodes(nodes):
    nodes({"num_cpus": 1}, {"num_cpus": 1, "resources": {"far": 1}})

    @ray.remote(resources={"far": 0.1})
    def make(n):
        return np.arange(n)

    @ray.remote(resources={"far": 0.1})
    def total(array):
        return int(array.sum()), array.flags.writeable

    for n in (10, 100_000, 3_000_000):
        np.testing.assert_array_equal(ray.get(make.remote(n), timeout=60), np.arange(n))
        assert ray.get(total.remote(ray.put(np.arange(n))), timeout=60) == (n * (n - 1) // 2, False)


def test_many_messages_between_nodes(nodes):
    nodes({"num_cpus": 1}, {"num_cpus": 1, "resources": {"far": 1}})

    @ray.remote(resources={"far": 1})
    class Log:
        def __init__(self):
            self.seen = []

        def note(self, i, data):
            self.seen.append((i, len(data)))

        def all(self):
            return self.seen

    log = Log.remote()
    for i in range(1000):
        log.note.remote(i, b"x" * (i * 37 % 50_000))
    assert ray.get(log.all.remote(), timeout=120) == [(i, i * 37 % 50_000) for i in range(1000)]


def test_affinity(nodes):
    cluster = nodes(*[{"num_cpus": 1}] * 3)
    f = ray.remote(where)
    for node in cluster.list_all_nodes():
        strategy = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        assert ray.get(f.options(scheduling_strategy=strategy).remote(), timeout=60) == node.node_id


def test_affinity_by_label(nodes):
    """A selector that names a node is as hard as the strategy: what can never run there fails at once."""
    cluster = nodes(*[{"num_cpus": 1}] * 2)
    f = ray.remote(where)
    for node in cluster.list_all_nodes():
        assert ray.get(f.options(label_selector={"ray.io/node-id": node.node_id}).remote(), timeout=60) == node.node_id
        never = f.options(label_selector={"ray.io/node-id": node.node_id}, resources={"not_there": 1})
        with pytest.raises(ray.exceptions.TaskUnschedulableError):
            ray.get(never.remote(), timeout=60)
    with pytest.raises(ray.exceptions.TaskUnschedulableError):
        ray.get(f.options(label_selector={"ray.io/node-id": "ab" * 28}).remote(), timeout=60)


def test_affinity_that_gives_way(nodes, gate):
    cluster = nodes(*[{"num_cpus": 1, "resources": {"place": 1}}] * 2)
    head, other = cluster.list_all_nodes()

    @ray.remote(resources={"place": 1})
    def stay(gate, who):
        gate.pass_through(who)
        return where()

    wish = NodeAffinitySchedulingStrategy(other.node_id, soft=True, _spill_on_unavailable=True)
    calls = []
    for who in ("first", "second"):
        calls.append(stay.options(scheduling_strategy=wish).remote(gate, who))
        gate.wait_for_arrival(who)
    gate.open()
    assert ray.get(calls, timeout=60) == [other.node_id, head.node_id]
    never = NodeAffinitySchedulingStrategy(other.node_id, soft=False, _fail_on_unavailable=True)
    with pytest.raises(NotImplementedError, match="_fail_on_unavailable"):
        stay.options(scheduling_strategy=never).remote(gate, "third")


def test_affinity_to_nobody(nodes):
    nodes({"num_cpus": 1})
    f = ray.remote(where)
    hard = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)
    soft = NodeAffinitySchedulingStrategy("ab" * 28, soft=True)
    with pytest.raises(ray.exceptions.TaskUnschedulableError):
        ray.get(f.options(scheduling_strategy=hard).remote(), timeout=60)
    assert ray.get(f.options(scheduling_strategy=soft).remote(), timeout=60) == ray.get_runtime_context().get_node_id()


def test_spread(nodes, gate):
    nodes(*[{"num_cpus": 2}] * 2)

    @ray.remote(scheduling_strategy="SPREAD")
    def place(gate, who):
        gate.pass_through(who)
        return ray.get_runtime_context().get_node_id()

    refs = [place.remote(gate, str(i)) for i in range(4)]
    wait_for(lambda: len(gate.visitors()) == 4, "four tasks at once")
    gate.open()
    places = ray.get(refs, timeout=60)
    assert len(set(places)) == 2


def test_all_cpus_of_all_nodes_work_at_once(nodes, gate):
    nodes(*[{"num_cpus": 1}] * 3)

    @ray.remote
    def hold(gate, who):
        gate.pass_through(who)
        return ray.get_runtime_context().get_node_id()

    refs = [hold.remote(gate, str(i)) for i in range(3)]
    wait_for(lambda: len(gate.visitors()) == 3, "three tasks at once")
    gate.open()
    assert len(set(ray.get(refs, timeout=60))) == 3


def test_a_node_that_comes_later_is_used(nodes):
    cluster = nodes({"num_cpus": 1})
    f = ray.remote(where)
    waiting = f.options(resources={"late": 1}).remote()
    assert ray.wait([waiting], timeout=0.3) == ([], [waiting])
    node = cluster.add_node(num_cpus=1, resources={"late": 1})
    assert ray.get(waiting, timeout=60) == node.node_id
    cluster.wait_for_nodes()


def test_a_removed_node(nodes):
    cluster = nodes({"num_cpus": 1}, {"num_cpus": 1, "resources": {"gone": 1}})
    node = cluster.list_all_nodes()[1]

    @ray.remote(resources={"gone": 0.1})
    class Actor:
        def pid(self):
            return os.getpid()

    actor = Actor.remote()
    pid = ray.get(actor.pid.remote(), timeout=60)
    cluster.remove_node(node)
    wait_for(lambda: [n["Alive"] for n in ray.nodes() if n["NodeID"] == node.node_id] in ([False], []), "the news")
    assert "gone" not in ray.cluster_resources()
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the end of its workers")
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.pid.remote(), timeout=60)


def test_tasks_of_a_removed_node_run_elsewhere(nodes, gate, tmp_path):
    cluster = nodes({"num_cpus": 0}, {"num_cpus": 1, "resources": {"x": 1}})
    node = cluster.list_all_nodes()[1]

    @ray.remote(resources={"x": 1})
    def run(gate, folder):
        first = not os.path.exists(os.path.join(folder, "started"))
        open(os.path.join(folder, "started"), "w").close()
        while first:
            time.sleep(0.05)
        return ray.get_runtime_context().get_node_id()

    ref = run.remote(gate, str(tmp_path))
    wait_for(lambda: os.path.exists(tmp_path / "started"))
    other = cluster.add_node(num_cpus=1, resources={"x": 1})
    cluster.remove_node(node)
    assert ray.get(ref, timeout=60) == other.node_id


def test_an_actor_of_a_node_that_leaves_in_order_waits_for_another_one(nodes):
    cluster = nodes({"num_cpus": 0})

    @ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)
    class Actor:
        def where(self):
            return where()

    node = cluster.add_node(num_cpus=1)
    actor = Actor.remote()
    for _ in range(5):  # its restart may be asked of the node while that is leaving
        assert ray.get(actor.where.remote(), timeout=60) == node.node_id
        cluster.remove_node(node)
        node = cluster.add_node(num_cpus=1)
    assert ray.get(actor.where.remote(), timeout=60) == node.node_id


def test_removing_twice_and_adding_again(nodes):
    cluster = nodes({"num_cpus": 1})
    for _ in range(3):
        node = cluster.add_node(num_cpus=1, resources={"extra": 1})
        assert ray.get(ray.remote(where).options(resources={"extra": 1}).remote(), timeout=60) == node.node_id
        cluster.remove_node(node)
        wait_for(lambda: "extra" not in ray.cluster_resources(), "the node to be gone")


def test_initialize_head_and_connect(start):
    machine = leaks.Machine(MARK)
    cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 2})
    assert ray.is_initialized() and ray.cluster_resources()["CPU"] == 2
    ray.shutdown()
    cluster.shutdown()
    machine.check()


@pytest.fixture
def stalled(nodes):
    """A value of 30 MB on a node whose engine does not answer, in a session with a store of 40 MB; what wakes it."""
    nodes({"num_cpus": 1, "object_store_memory": 40 << 20}, {"num_cpus": 1, "resources": {"far": 1}})
    words = {process: process.cmdline() for process in psutil.Process().children(recursive=True)}
    (engine,) = [process for process, line in words.items() if "ray-engine-node" in line[0] and "far" in str(line)]
    ref = ray.remote(resources={"far": 1})(lambda: np.ones(30 << 20, np.uint8)).remote()
    ray.wait([ref], fetch_local=False, timeout=60)
    engine.suspend()
    yield ref, engine.resume
    engine.resume()


@pytest.mark.parametrize("together", [True, False], ids=["at_once", "in_turn"])
def test_one_large_object_reaches_all_nodes(nodes, together):
    names = [f"n{number}" for number in range(4)]
    nodes({"num_cpus": 1}, *({"num_cpus": 1, "resources": {name: 1}} for name in names))
    array = np.random.default_rng(7).integers(0, 256, 100 << 20, dtype=np.uint8)

    @ray.remote(num_cpus=0)
    class Reader:
        def same(self, refs):
            return bool(np.array_equal(ray.get(refs[0])[:: 1 << 10], array_sample))

    array_sample = array[:: 1 << 10]
    readers = [Reader.options(resources={name: 0.1}).remote() for name in names]
    ray.get([reader.__ray_ready__.remote() for reader in readers], timeout=120)
    ref = ray.put(array)
    if together:
        assert all(ray.get([reader.same.remote([ref]) for reader in readers], timeout=120))
    else:
        assert all(ray.get(reader.same.remote([ref]), timeout=60) for reader in readers)
    assert len(ray.experimental.get_object_locations([ref])[ref]["node_ids"]) == 5
    came = received()
    assert came.pop(where()) == 0 and len(came) == 4
    assert all(array.nbytes <= count < array.nbytes + 4096 for count in came.values()), "each gets every byte once"


def test_a_fetch_that_is_given_up_leaves_no_trace(stalled):
    """Ctrl-C and time limits get through while a value is on its way; when it comes after all it takes no room."""
    ref, resume = stalled
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        ray.get(ref)
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.2)
    assert ray.wait([ref], timeout=0.2) == ([], [ref])
    resume()
    assert ray.get(ref, timeout=60).sum() == 30 << 20
    del ref
    assert ray.get(ray.put(np.ones(30 << 20, np.uint8)), timeout=60).sum() == 30 << 20


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_task_goes_to_its_arguments(nodes, size):
    cluster = nodes({"num_cpus": 2}, {"num_cpus": 2, "resources": {"a": 2}}, {"num_cpus": 2, "resources": {"b": 2}})
    a, b = (next(n["NodeID"] for n in ray.nodes() if name in n["Resources"]) for name in "ab")
    assert len(cluster.list_all_nodes()) == 3

    @ray.remote
    def make(n):
        return np.zeros(n, np.uint8)

    @ray.remote
    def place(*_):
        return where()

    on_a, on_b = make.options(resources={"a": 1}), make.options(resources={"b": 1})
    large = on_a.remote(size)
    assert ray.get(place.remote(large, on_b.remote(size // 2)), timeout=60) == a
    assert ray.get(place.options(resources={"b": 0.1}).remote(large), timeout=60) == b  # which leaves a copy there
    wait_for(lambda: len(ray.experimental.get_object_locations([large])[large]["node_ids"]) == 2, "the copy")
    small = on_b.remote(size // 2)
    assert ray.get(place.remote(large, small), timeout=60) == b
    assert ray.get(place.options(scheduling_strategy=NodeAffinitySchedulingStrategy(a, False)).remote(small)) == a


def test_no_bytes_move_for_tasks_that_go_to_their_arguments(nodes):
    nodes({"num_cpus": 1}, *({"num_cpus": 8, "resources": {name: 1}} for name in "ab"))

    @ray.remote
    def make(n):
        return np.ones(n, np.uint8)

    @ray.remote
    def total(array):
        return int(array.sum())

    size = 5_000_000
    made = [make.options(resources={name: 0.1}).remote(size) for name in "ab"]
    ray.wait(made, num_returns=2, timeout=60, fetch_local=False)
    for _ in range(10):
        assert ray.get([total.remote(array) for array in made], timeout=60) == [size, size]
    assert sum(received().values()) == 0
    assert ray.get(total.options(resources={"b": 0.1}).remote(made[0]), timeout=60) == size
    assert size <= sum(received().values()) < size + 4096


def test_a_node_gets_an_object_once_however_many_want_it(nodes):
    nodes({"num_cpus": 1}, {"num_cpus": 4, "resources": {"far": 4}})

    @ray.remote(resources={"far": 1})
    def total(array):
        return int(array.sum())

    size = 30_000_000
    ref = ray.put(np.ones(size, np.uint8))
    assert ray.get([total.remote(ref) for _ in range(12)], timeout=60) == [size] * 12
    assert size <= sum(received().values()) < size + 4096


def test_a_borrower_knows_where_an_argument_is(nodes):
    nodes({"num_cpus": 2}, {"num_cpus": 2, "resources": {"far": 2}})

    @ray.remote(resources={"far": 1})
    def make():
        return np.zeros(300_000, np.uint8)

    @ray.remote
    def place(array):
        return where()

    @ray.remote
    def borrow(refs):
        return ray.get(place.remote(*refs))

    far = next(n["NodeID"] for n in ray.nodes() if "far" in n["Resources"])
    assert ray.get(borrow.remote([make.remote()]), timeout=60) == far


def test_the_size_up_to_which_values_travel_inside_messages(nodes):
    nodes({"num_cpus": 1, "_system_config": {"max_direct_call_object_size": 10}})

    @ray.remote
    def echo(value):
        return value

    short, long = echo.remote(b"x"), echo.remote(b"x" * 20)
    assert ray.get([short, long]) == [b"x", b"x" * 20]
    stored = {row["object_id"]: row["is_stored"] for row in ray._core.own_references()}
    assert (stored[short.hex()], stored[long.hex()]) == (False, True)


def test_a_place_that_a_reference_tells_may_be_lost(nodes):
    """Whoever was told where it lies asks the owner, once the node is gone."""

    @ray.remote(num_cpus=0)
    class Keeper:
        def keep(self, refs):
            self.refs = refs

        def read(self):
            return len(ray.get(self.refs[0]))

    cluster = nodes({"num_cpus": 2}, {"num_cpus": 1, "resources": {"there": 1}})
    make = ray.remote(resources={"there": 1}, max_retries=0)(lambda: bytes(1 << 20))
    here = NodeAffinitySchedulingStrategy(cluster.head_node.node_id, soft=False)
    read, lost = make.remote(), make.remote()
    ray.wait([read, lost], num_returns=2, timeout=60, fetch_local=False)
    keepers = [Keeper.options(scheduling_strategy=here).remote() for _ in range(2)]
    ray.get([keeper.keep.remote([ref]) for keeper, ref in zip(keepers, (read, lost), strict=True)], timeout=60)
    assert ray.get(keepers[0].read.remote(), timeout=60) == 1 << 20
    cluster.remove_node(cluster.list_all_nodes()[1])
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(keepers[1].read.remote(), timeout=60)
