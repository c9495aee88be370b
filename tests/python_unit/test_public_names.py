"""All that is public is described, annotated, and known to type checkers under the name `ray` too."""

import inspect

import pytest

from tests.python_unit import public_names

DEFINITIONS = public_names.definitions()


def is_described(name):
    """By more than the line that tells the arguments, which nanobind writes by itself."""
    lines = (DEFINITIONS[name].__doc__ or "").splitlines()
    return any(line.strip() and not line.startswith(f"{name.rpartition('.')[2]}(") for line in lines)


def without_annotation(name):
    """Parameters, and "return", that have none. What is written in C++ has its annotations in _core.pyi."""
    value = DEFINITIONS[name]
    function = value.fget if isinstance(value, property) else value
    if inspect.isclass(value):
        function = vars(value).get("__init__")
    if (
        not inspect.isfunction(function) or name == "ray_engine.actor.ActorClass"
    ):  # made by `class X(actor class)` alone
        return []
    parameters = inspect.signature(function).parameters.values()
    missing = [p.name for p in parameters if p.annotation is p.empty and p.name not in ("self", "cls")]
    has_return = inspect.isclass(value) or "return" in function.__annotations__
    return missing if has_return else [*missing, "return"]


def test_the_names_are_found():
    assert {"ray_engine.get", "ray_engine.util.queue.Queue.put", "ray_engine.ObjectRef.hex"} <= set(DEFINITIONS)


def test_every_name_is_described():
    assert not [name for name in DEFINITIONS if not is_described(name)]


def test_every_name_is_annotated():
    assert not {name: missing for name in DEFINITIONS if (missing := without_annotation(name))}


@pytest.mark.parametrize("module", public_names.modules(), ids=lambda module: module.__name__)
def test_has_a_stub_as_ray(module):
    parts = module.__name__.split(".")[1:]
    folder = public_names.ALIAS.joinpath(*parts)
    stub = folder / "__init__.pyi" if hasattr(module, "__path__") else folder.with_suffix(".pyi")
    assert f"from {module.__name__} import " in stub.read_text()
