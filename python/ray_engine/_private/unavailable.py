"""Parts of Ray's API that this version does not have: the one place that words the refusal.

Ray's libraries can be imported and named (`from ray.tune import Tuner`, isinstance(x, ray.data.Dataset)), because
packages do that where they do not need them. Calling one of their names raises.
"""

import importlib.abc
import importlib.machinery
import sys
import types

# Names of the top-level module that Ray programs may ask for.
TOP_LEVEL = frozenset({
    "client", "ClientBuilder", "java_function", "java_actor_class", "cpp_function",
    "LoggingConfig", "Language", "widgets", "cross_language",
})  # fmt: skip

LIBRARIES = frozenset({
    "air", "autoscaler", "dashboard", "data", "job_submission", "llm", "rllib", "serve", "train", "tune", "workflow",
})  # fmt: skip


def message(what: str) -> str:
    from ray_engine._version import __engine_version__

    return f"{what} is part of Ray's API but not available in ray-engine {__engine_version__}"


def attribute(module: str, name: str, known=frozenset()):
    """The error for `module.name`; says so if Ray has that name and we do not."""
    if name in known:
        return AttributeError(message(f"{module}.{name}"))
    return AttributeError(f"module {module!r} has no attribute {name!r}")


def option(name: str, value) -> NotImplementedError:
    return NotImplementedError(message(f"The option {name}={value!r}"))


# ---- libraries ------------------------------------------------------------------------------------------------------


class _NoInstances:
    """What a class derived from a name of a missing library derives from."""

    def __init__(self, *_, **__):
        raise NotImplementedError(message(f"What {type(self).__qualname__} is derived from"))


class Missing:
    """A name of a missing library: a class without instances, or a function that raises."""

    def __init__(self, name: str):
        self.__name__ = name

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(f"{self.__name__}.{name}")

    def __call__(self, *_, **__):
        raise NotImplementedError(message(self.__name__))

    def __mro_entries__(self, bases):
        return (_NoInstances,)

    def __instancecheck__(self, instance):
        return False

    def __subclasscheck__(self, cls):
        return False

    def __getitem__(self, _):
        return self

    def __or__(self, _):  # in annotations
        return self

    __ror__ = __or__

    def __repr__(self):
        return f"<{self.__name__}, which is not available>"


class _Library(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(f"ray{self.__name__.removeprefix('ray_engine')}.{name}")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last on sys.meta_path: finds the libraries and all that is said to be in them."""

    def find_spec(self, fullname, path=None, target=None):
        package, _, rest = fullname.partition(".")
        if package != "ray_engine" or rest.partition(".")[0] not in LIBRARIES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return _Library(spec.name, message(f"ray{spec.name.removeprefix('ray_engine')}"))

    def exec_module(self, module):
        pass


def install():
    """Makes the libraries importable."""
    sys.meta_path.append(_Finder())
