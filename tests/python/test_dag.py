"""Graphs of calls: bind() describes them, execute() makes them."""

import pickle

import pytest
import ray_engine as ray
from ray_engine.dag import InputNode, MultiOutputNode


@pytest.fixture
def add():
    @ray.remote
    def add(x, y=1):
        return x + y

    return add


@pytest.fixture
def Counter():
    class Counter:
        def __init__(self, value=0):
            self.value = value

        def add(self, n):
            self.value += n
            return self.value

        @ray.method(num_returns=2)
        def both(self, x):
            return x, -x

    return ray.remote(Counter)


def test_functions_in_a_graph(cluster, add):
    first = add.bind(1)
    assert ray.get(add.bind(first, y=add.bind(first, 10)).execute()) == 14


def test_a_node_runs_once_for_all_who_need_it(cluster, add, tmp_path):
    @ray.remote
    def leaves_a_mark():
        with open(tmp_path / "marks", "a") as file:
            file.write("x")
        return 1

    shared = leaves_a_mark.bind()
    assert ray.get(MultiOutputNode([add.bind(shared), add.bind(shared, shared)]).execute()) == [2, 2]
    assert (tmp_path / "marks").read_text() == "x"


def test_nodes_in_containers_become_references(cluster, add):
    @ray.remote
    def total(parts, named):
        return sum(ray.get(parts)) + ray.get(named["last"])

    assert ray.get(total.bind([add.bind(1), add.bind(2)], {"last": add.bind(3)}).execute()) == 9


def test_options_hold_for_the_call(cluster):
    @ray.remote
    def name():
        return ray.get_runtime_context().get_task_name()

    node = name.options(name="other").bind()
    assert node.get_options()["name"] == "other"
    assert ray.get(node.execute()) == "other"
    with pytest.raises(ValueError, match="num_cpus"):
        name.options(num_cpus=-1).bind()


@pytest.mark.parametrize("args, kwargs", [((1, 2), {}), (([1, 2],), {}), (((1, 2),), {})])
def test_input_by_place(cluster, add, args, kwargs):
    with InputNode() as data:
        dag = add.bind(data[0], data[1])
    assert ray.get(dag.execute(*args, **kwargs)) == 3


def test_input_by_name(cluster, add):
    class Pair:
        x, y = 3, 4

    with InputNode() as data:
        by_attribute = add.bind(data.x, data.y)
        by_key = add.bind(data["x"], data["y"])
    assert ray.get(by_attribute.execute(x=1, y=2)) == 3
    assert ray.get(by_attribute.execute(Pair)) == 7
    assert ray.get(by_key.execute({"x": 5, "y": 6})) == 11


def test_input_as_a_whole(cluster, add):
    with InputNode() as data:
        dag = add.bind(data)
    assert [ray.get(dag.execute(x)) for x in (1, 10)] == [2, 11]


def test_misuse_of_the_input(cluster, add, Counter):
    with pytest.raises(ValueError, match="should not take any args"):
        InputNode(1)
    with pytest.raises(AssertionError, match="context manager"):
        add.bind(InputNode()).execute(1)
    with InputNode() as one, InputNode() as other:
        with pytest.raises(AssertionError, match="one unique InputNode"):
            add.bind(one, other).execute(1)
        with pytest.raises(ValueError, match="InputNode"):
            Counter.bind(one)
        with pytest.raises(AssertionError, match="int index or str"):
            one[1.5]


def test_an_actor_is_made_by_each_execution(cluster, Counter):
    actor = Counter.bind(10)
    actor.add.bind(1)
    last = actor.add.bind(2)
    assert [ray.get(last.execute()), ray.get(last.execute())] == [13, 13]


def test_an_actor_as_an_argument(cluster, Counter):
    @ray.remote
    def use(counter):
        return ray.get(counter.add.remote(5))

    assert ray.get(use.bind(Counter.bind(1)).execute()) == 6


def test_methods_of_a_living_actor(cluster, Counter):
    actor = Counter.remote(1)
    with InputNode() as data:
        dag = actor.add.bind(data)
        plus, minus = actor.both.bind(data)
    del actor
    assert [ray.get(dag.execute(2)), ray.get(dag.execute(2))] == [3, 5]
    assert ray.get(MultiOutputNode([plus, minus]).execute(7)) == [7, -7]


def test_what_a_node_is_not(cluster, add, Counter):
    with pytest.raises(AttributeError, match=r"\.bind\(\) cannot be used again"):
        Counter.bind().bind()
    with pytest.raises(AttributeError, match=r"\.remote\(\) cannot be used on ClassMethodNodes"):
        Counter.bind().add.remote()
    with pytest.raises(AttributeError, match=r"\.remote\(\) cannot be used"):
        add.bind(1).remote()
    with pytest.raises(AttributeError, match="no attribute 'subtract'"):
        Counter.bind().subtract  # noqa: B018
    with pytest.raises(ValueError, match="Invalid input type"):
        MultiOutputNode(add.bind(1))
    with pytest.raises(NotImplementedError, match="experimental_compile"):
        add.bind(1).experimental_compile()


def test_a_graph_can_be_sent(cluster, add):
    @ray.remote
    def execute(dag):
        return ray.get(dag[0].execute(1))

    with InputNode() as data:
        dag = add.options(name="x").bind(data, add.bind(5))
    assert ray.get(execute.remote([dag])) == 7


def test_a_long_chain(cluster, add):
    node = add.bind(0)
    for _ in range(1500):
        node = add.bind(node)
    assert ray.get(node.execute()) == 1501


def test_nodes_can_be_pickled(cluster):
    with InputNode() as data:
        part = data.x
    assert pickle.loads(pickle.dumps(part)).key == "x"
