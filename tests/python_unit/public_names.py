"""What of the package is public, for tests that look at all of it."""

import importlib
import inspect
import pathlib
import pkgutil
import types
from collections.abc import Iterator

import ray_engine

ALIAS = pathlib.Path(ray_engine.__path__[0]) / "_alias/ray"

# Modules without a leading underscore that programs do not import: parts of others, and what needs more installed.
_PARTS = (
    "ray_engine.as_ray",
    "ray_engine.cloudpickle",
    "ray_engine.mypy_plugin",
    "ray_engine.util.joblib.ray_backend",
    "ray_engine.util.multiprocessing.results",
    "ray_engine.util.state.rows",
)


def modules() -> list[types.ModuleType]:
    """The package and its public modules."""
    names = (found.name for found in pkgutil.walk_packages(ray_engine.__path__, "ray_engine."))
    public = (name for name in names if "._" not in name and ".__" not in name and name not in _PARTS)
    return [ray_engine, *map(importlib.import_module, public)]


def definitions() -> dict[str, object]:
    """Functions and classes, and the methods and properties of those, by full name."""
    found: dict[str, object] = {}
    for module in modules():
        for name in names_of(module):
            value = getattr(module, name)
            if callable(value) and str(value.__module__).startswith("ray_engine"):
                found[f"{module.__name__}.{name}"] = value
                found.update(_members(f"{module.__name__}.{name}", value))
    return found


def names_of(module: types.ModuleType) -> list[str]:
    """What it says is public; otherwise what it defines without a leading underscore."""
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
    return getattr(module, "__all__", None) or [name for name in own if not name.startswith("_")]


def _members(owner: str, value: object) -> Iterator[tuple[str, object]]:
    for name, member in vars(value).items() if inspect.isclass(value) else ():
        member = getattr(member, "__func__", member)
        if not name.startswith("_") and (callable(member) or isinstance(member, property)):
            yield f"{owner}.{name}", member
