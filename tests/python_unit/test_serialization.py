"""Values to bytes and back: plain data, buffers out of band, references by index, functions, culprits named."""

import collections
import threading

import numpy as np
import pytest
import ray_engine as ray
from ray_engine._private.serialization import dumps, loads


def through(value):
    pickle, buffers, refs = dumps(value)
    return loads(memoryview(pickle), [memoryview(buffer.raw()).toreadonly() for buffer in buffers], refs)


Point = collections.namedtuple("Point", "x y")


class Plain:
    def __init__(self, x):
        self.x = x


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None]}, (1, "x"), {1, 2}, Point(1, 2), ValueError, 2**100, b"x" * 10**6]
)
def test_plain_values(value):
    assert through(value) == value


def test_arrays_go_out_of_band_and_come_back_read_only():
    array = np.arange(1000)
    pickle, buffers, _ = dumps({"a": array})
    assert len(buffers) == 1 and len(pickle) < 500
    back = through({"a": array})["a"]
    assert (back == array).all() and not back.flags.writeable


def test_arrow_tables_go_out_of_band():
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": list(range(1000))})
    assert dumps(table)[1] and through(table) == table


def test_references_travel_by_index():
    first, second = ray.ObjectRef(b"a" * 28), ray.ObjectRef(b"b" * 28)
    pickle, _, refs = dumps([first, {"x": second}, first])
    assert refs == [first, second]
    assert loads(pickle, (), refs) == [first, {"x": second}, first]
    assert first.binary() not in pickle


def test_loading_inside_loading_keeps_the_tables_apart():
    inner, outer = ray.ObjectRef(b"a" * 28), ray.ObjectRef(b"b" * 28)
    pickle, _, refs = dumps([Nested(dumps(inner)), outer])
    assert [r.binary() for r in loads(pickle, (), refs)] == [inner.binary(), outer.binary()]


class Nested:
    def __init__(self, dumped):
        self.dumped = dumped

    def __reduce__(self):
        pickle, _, refs = self.dumped
        return _load_nested, (pickle, refs[0].binary())


def _load_nested(pickle, binary):
    return loads(pickle, (), [ray.ObjectRef(binary)])


def test_functions_and_classes_by_value():
    local = 3
    assert through(lambda x: x + local)(1) == 4

    class Local:
        def get(self):
            return local

    assert through(Local()).get() == 3
    assert through({"f": [lambda: 1]})["f"][0]() == 1


def test_modules():
    assert through({"m": np})["m"] is np


def test_classes_that_can_be_imported_go_by_name():
    assert type(through(Plain(3))) is Plain


def test_remote_functions_and_actor_classes_travel():
    @ray.remote(num_returns=2)
    def f(a):
        return a

    @ray.remote(num_cpus=3)
    class A:
        K = 5

    assert through(f)._function(4) == 4 and through(f)._default_options == {"num_returns": 2}
    assert through(A).K == 5 and through(A)._default_options == {"num_cpus": 3}


def test_a_function_that_calls_itself():
    @ray.remote
    def f(n):
        return f, n

    back = through(f)
    assert back._function(1)[0] is back


def test_registered_serializers():
    class Odd:
        def __init__(self):
            self.lock = threading.Lock()

    ray.util.register_serializer(Odd, serializer=lambda odd: "state", deserializer=lambda state: [state])
    try:
        assert through({"x": Odd()}) == {"x": ["state"]}
    finally:
        ray.util.deregister_serializer(Odd)
    with pytest.raises(TypeError):
        dumps(Odd())


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ((), "Could not serialize the put value"),
        (("m.f",), "for a task or actor m.f"),
        (("m.f", True), "Could not serialize the result"),
    ],
)
def test_errors_name_the_culprit(where, words):
    holder = Plain({"deep": [1, threading.Lock()]})
    with pytest.raises(TypeError) as info:
        dumps(holder, *where)
    text = str(info.value)
    assert words in text
    assert "Serializing 'x'" in text and "Serializing '['deep']'" in text
    assert "FailTuple([1] [obj=<unlocked _thread.lock object" in text


def test_a_failed_dump_leaves_nothing_behind():
    ref = ray.ObjectRef(b"a" * 28)
    with pytest.raises(TypeError):
        dumps([ref, np.arange(10), threading.Lock()])
    assert dumps({"a": 1})[1:] == ([], [])


def test_dumping_while_dumping():
    class Reenters:
        def __reduce__(self):
            assert through([1, 2]) == [1, 2]
            return (int, (7,))

    assert through([Reenters(), "after"]) == [7, "after"]


def test_threads_do_not_share_a_pickler():
    def work():
        results.append(all(through({"n": n, "a": np.full(10, n)})["a"][0] == n for n in range(200)))

    results = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_what_cannot_be_loaded_is_a_system_error():
    with pytest.raises(ray.exceptions.RaySystemError, match="System error"):
        loads(b"not a pickle")


def test_references_out_of_band_can_be_forbidden(monkeypatch):
    import pickle

    monkeypatch.setenv("RAY_allow_out_of_band_object_ref_serialization", "0")
    with pytest.raises(ray.exceptions.OufOfBandObjectRefSerializationException):
        pickle.dumps(ray.ObjectRef(b"a" * 28))


def test_inspect_serializability(capsys):
    lock = threading.Lock()

    def captures():
        return lock

    good, culprits = ray.util.inspect_serializability(captures, name="captures")
    assert not good
    assert {(c.name, c.obj) for c in culprits} == {("lock", lock)}
    assert "Checking Serializability of" in capsys.readouterr().out
    assert ray.util.inspect_serializability([1], name="x") == (True, set())
