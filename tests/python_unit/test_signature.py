"""Signatures: which calls are let through, and what is said of the others."""

import pickle
import threading

import pytest
from ray_engine._private import actor_description
from ray_engine._private.signature import Signature


def _limits(function):
    signature = Signature.of(function)
    return signature.min_args, signature.max_args


def test_limits_of_positional_calls():
    assert _limits(lambda: None) == (0, 0)
    assert _limits(lambda a, b=1: None) == (1, 2)
    assert _limits(lambda a, *, c=1: None) == (1, 1)
    assert _limits(lambda a, *rest: None)[0] == 1 and _limits(lambda a, *rest: None)[1] > 10**6


def test_a_required_keyword_makes_every_positional_call_checked():
    low, high = _limits(lambda a, *, c: None)
    assert low > high


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((), {}, "missing a required argument: 'a'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"c": 3}, "got an unexpected keyword argument 'c'"),
        ((1,), {"a": 3}, "multiple values for argument 'a'"),
    ],
)
def test_wrong_calls(args, kwargs, words):
    with pytest.raises(TypeError, match=words):
        Signature.of(lambda a, b=1: None).check(args, kwargs)


def test_right_calls():
    signature = Signature.of(lambda a, b=1, *, c=2: None)
    for args, kwargs in [((1,), {}), ((1, 2), {"c": 3}), ((), {"a": 1, "b": 2})]:
        signature.check(args, kwargs)


def test_builtins_are_not_checked():
    Signature.of(type).check((1, 2, 3, 4, 5), {})


def test_survives_pickling():
    signature = pickle.loads(pickle.dumps(Signature.of(lambda a, b=threading.Lock: None)))
    assert (signature.min_args, signature.max_args) == (1, 2)
    with pytest.raises(TypeError, match="missing a required argument: 'a'"):
        signature.check((), {})


# ---- of classes -----------------------------------------------------------------------------------------------------


class Sample:
    def __init__(self, x):
        self.x = x

    def plain(self, a):
        return a

    @staticmethod
    def static(a):
        return a

    @classmethod
    def of_class(cls, a):
        return a

    def generates(self):
        yield 1


def test_methods_without_self():
    methods = actor_description.describe(Sample).methods
    for name in ("__init__", "plain", "static", "of_class"):
        assert (methods[name].signature.min_args, methods[name].signature.max_args) == (1, 1), name
    assert methods["generates"].is_generator and not methods["plain"].is_generator
    assert "__ray_ready__" in methods and "__ray_terminate__" in methods


def test_class_without_init():
    class Bare:
        pass

    signature = actor_description.describe(Bare).methods["__init__"].signature
    with pytest.raises(TypeError, match="too many positional arguments"):
        signature.check((1,), {})


def test_async_methods_make_an_async_actor():
    class Async:
        async def m(self):
            pass

    assert actor_description.describe(Async).is_async
    assert not actor_description.describe(Sample).is_async


def test_descriptions_are_loaded_once():
    blob = actor_description.pickled(actor_description.describe(Sample), {"max_task_retries": 2})
    description, settings = actor_description.load(blob)
    assert description.class_name == "Sample" and settings == {"max_task_retries": 2}
    assert actor_description.load(bytes(bytearray(blob)))[0] is description


def test_who_described_a_class_does_not_load_its_description():
    description = actor_description.describe(Sample)
    blob = actor_description.pickled(description, {"max_task_retries": 3})
    assert actor_description.load(bytes(bytearray(blob)))[0] is description
