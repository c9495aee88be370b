"""Values to bytes and back.

dumps() gives the pickle of a value, the large buffers in it (numpy, Arrow: not copied) and the references in it, which
the pickle names by their place in that list; loads() is its inverse. Plain data goes through C pickle alone. What C
pickle cannot do (functions and classes of __main__, lambdas, modules, ...) starts again with cloudpickle.

None, bool, int, float, bytes and str never come here: the C++ side encodes them itself.

Thread-safe: picklers are taken from a pool, one user at a time; loads() keeps its table of references per thread.
"""

import copyreg
import io
import pickle
import traceback
from collections.abc import Callable
from types import CodeType, FunctionType

import cloudpickle

from ray_engine import _core
from ray_engine._core import ObjectRef
from ray_engine._private import culprit
from ray_engine.exceptions import OufOfBandObjectRefSerializationException, RaySystemError

_KEEP_BYTES = 1 << 20  # a pickler whose output was larger is not kept for reuse
_loads = pickle.loads
_by_value_modules = cloudpickle.list_registry_pickle_by_value

# Class -> (pickler, object) -> reduce tuple: references, actor handles, and what register_serializer() added.
_reducers: dict[type, Callable] = {}


class _NeedsCloudpickle(Exception):
    """The value holds something that only cloudpickle can pickle."""


class _FastPickler(pickle.Pickler):
    """C pickle; gives up at the first function or class that must be pickled by value."""

    def reducer_override(self, obj):
        kind = type(obj)
        reducer = _reducers.get(kind)
        if reducer is not None:
            return reducer(self, obj)
        if (kind is FunctionType or issubclass(kind, type)) and (obj.__module__ == "__main__" or _by_value_modules()):
            raise _NeedsCloudpickle
        return NotImplemented


class _FullPickler(cloudpickle.Pickler):
    """cloudpickle with our reducers."""

    def reducer_override(self, obj):
        reducer = _reducers.get(type(obj))
        return reducer(self, obj) if reducer is not None else super().reducer_override(obj)


def _code_at(filename, make, arguments):
    return make(*arguments).replace(co_filename=filename)


def _reduce_code(_, code):
    """cloudpickle may leave out where code comes from; tracebacks need it to show the line."""
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)[:2]
    return _code_at, (code.co_filename, make, arguments)


_reducers[CodeType] = _reduce_code

# The functions that are written in C++ (get, put, wait) are pickled by name, as Python's are.
copyreg.pickle(type(_core.get), lambda function: function.__name__)


class _Slot:
    """A pickler with what it writes to. `refs` of a pickler is its table of references; None: they go out of band."""

    __slots__ = ("file", "buffers", "refs", "pickler")

    def __init__(self, pickler_class=_FastPickler):
        self.file = io.BytesIO()
        self.buffers: list[pickle.PickleBuffer] = []
        self.refs: list[ObjectRef] = []
        self.pickler = pickler_class(self.file, 5, buffer_callback=self.buffers.append)
        self.pickler.refs = self.refs

    def take(self):
        """The result of the dump; leaves the slot as new."""
        file, buffers, refs = self.file, self.buffers, self.refs
        data = file.getvalue()
        file.seek(0)
        file.truncate()
        self.pickler.clear_memo()
        if not buffers and not refs:
            return data, [], []
        result = data, buffers.copy(), refs.copy()
        buffers.clear()
        refs.clear()
        return result


_pool: list[_Slot] = []


def dumps(obj, name=None, is_result=False):
    """(pickle, buffers, references) of a value.

    `name` and `is_result` are for the error's text only: an argument for, or the result of, the task or actor of that
    name; without a name the value is one to put.
    """
    try:
        slot = _pool.pop()
    except IndexError:
        slot = _Slot()
    try:
        slot.pickler.dump(obj)
    except Exception:
        return _dumps_full(obj, name, is_result)
    result = slot.take()
    if len(result[0]) < _KEEP_BYTES:
        _pool.append(slot)
    return result


def _dumps_full(obj, name, is_result):
    slot = _Slot(_FullPickler)
    try:
        slot.pickler.dump(obj)
    except OufOfBandObjectRefSerializationException:
        raise
    except Exception as error:
        raise unserializable(obj, _describe(obj, name, is_result)) from error
    return slot.take()


def dumps_plain(obj) -> bytes:
    """One self-contained pickle: for definitions and errors. References in it live as long as the session."""
    file = io.BytesIO()
    pickler = _FullPickler(file, 5)
    pickler.refs = None
    pickler.dump(obj)
    return file.getvalue()


def loads(data, buffers=(), refs=()):
    try:
        return _load_with_refs(data, buffers, refs) if refs else _loads(data, buffers=buffers)
    except Exception as error:
        raise RaySystemError(error, traceback.format_exc()) from error


def _load_with_refs(data, buffers, refs):
    outer = _core.set_refs_to_load(refs)
    try:
        return _loads(data, buffers=buffers)
    finally:
        _core.set_refs_to_load(outer)


def add_ref(pickler, ref) -> int:
    """Puts a reference into the pickler's table; returns its place."""
    pickler.refs.append(ref)
    return len(pickler.refs) - 1


ref_at = _core.ref_at  # while loading: the reference at this place of the table


def _reduce_ref(pickler, ref):
    return ref.__reduce__() if pickler.refs is None else (ref_at, (add_ref(pickler, ref),))


_reducers[ObjectRef] = _reduce_ref


def add_reducer(cls, reducer):
    """`reducer(pickler, obj)` pickles the instances of exactly this class from now on."""
    _reducers[cls] = reducer


def remove_reducer(cls):
    _reducers.pop(cls, None)


def _describe(obj, name, is_result) -> str:
    if name is None:
        return f"the put value {obj!r}"
    return f"the result {obj!r} of {name}" if is_result else f"the argument {obj!r} for a task or actor {name}"


def unserializable(obj, what: str) -> TypeError:
    """The error that names the culprit inside `obj`."""
    report = io.StringIO()
    culprit.report(dumps_plain, obj, print_file=report)
    return TypeError(f"Could not serialize {what}:\n{report.getvalue()}")
