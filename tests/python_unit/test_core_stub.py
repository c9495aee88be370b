"""_core.pyi is about the compiled module as it is: the same names, and the same arguments."""

import ast
import re
from pathlib import Path

import pytest
import ray_engine
from ray_engine import _core

STUB = ast.parse((Path(ray_engine.__path__[0]) / "_core.pyi").read_text())
FUNCTIONS = {node.name: node for node in STUB.body if isinstance(node, ast.FunctionDef)}
CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}


def arguments(function):
    """(names, how many). Those by place alone have no name."""
    given = function.args
    return [arg.arg for arg in [*given.args, *given.kwonlyargs]], len(given.posonlyargs)


def compiled(function):
    """The same of a function in C++, which nanobind, or its own text, describes as Python would write it."""
    if not hasattr(function, "__nb_signature__"):
        return arguments(ast.parse(f"def f{function.__text_signature__.replace('$module, ', '')}: ...").body[0])
    without_defaults = re.sub(r" = \\\d+", "", function.__nb_signature__[0][0])
    return arguments(ast.parse(f"{without_defaults}: ...").body[0])


def test_the_stub_has_all_names_and_no_others():
    variables = {node.target.id for node in STUB.body if isinstance(node, ast.AnnAssign)}
    real = {name for name in vars(_core) if not name.startswith("__")} | {"__version__", "__commit__"}
    assert FUNCTIONS.keys() | CLASSES.keys() | variables == real


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_takes_what_the_stub_says(name):
    assert arguments(FUNCTIONS[name]) == compiled(getattr(_core, name))


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_has_the_methods_of_the_stub(name):
    methods = {node.name for node in CLASSES[name].body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert not {method for method in methods if not hasattr(getattr(_core, name), method)}
