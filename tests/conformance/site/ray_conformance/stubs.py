"""Stand-ins for names inside Ray that the engine does not have.

Importing them and reaching deeper into them works, so that a test file can be collected; using one (calling it,
comparing it, asking for its truth, deriving from it) raises InternalNotServed with the full name, which is counted.
"""

import importlib
import types


class InternalNotServed(NotImplementedError):
    """A test used something inside Ray that exists only in Ray."""


class MissingBase:
    """What a class derives from when a test derives from a missing class."""

    def __init__(self, *args, **kwargs):
        raise InternalNotServed(type(self).__qualname__)


class Missing:
    """A name that is not there. Looks like a class or a value until it is used."""

    def __init__(self, name):
        self.__dict__["_missing_name"] = name
        self.__dict__["__name__"] = name.rpartition(".")[2]

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return Missing(f"{self._missing_name}.{name}")

    def __mro_entries__(self, bases):
        return (MissingBase,)

    def __repr__(self):
        return f"<not served: {self._missing_name}>"

    def __hash__(self):
        return hash(self._missing_name)

    def __reduce__(self):
        return Missing, (self._missing_name,)


def _refuse(self, *args, **kwargs):
    raise InternalNotServed(self._missing_name)


for _name in (
    "__call__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__ __bool__ __len__ __iter__ __next__ __contains__ __getitem__ "
    "__setitem__ __setattr__ __enter__ __exit__ __int__ __float__ __index__ __str__ __add__ __radd__ __sub__ __mul__ "
    "__or__ __ror__ __and__ __await__ __instancecheck__ __subclasscheck__"
).split():
    setattr(Missing, _name, _refuse)


class StubModule(types.ModuleType):
    """A module whose missing names are served as Missing. Submodules are found by the import hook."""

    def __reduce__(self):
        return importlib.import_module, (self.__name__,)

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        package, _, rest = self.__name__.partition(".")
        return Missing(f"ray.{rest}.{name}" if package == "ray_engine" else f"{self.__name__}.{name}")
