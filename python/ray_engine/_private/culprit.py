"""Finds what keeps an object from being serialised.

Walks from the object to what it holds (globals and closure of a function, items, attributes) along the first path on
which everything fails, and names where the path ends.
"""

import inspect
from typing import Any


class FailureTuple:
    """A culprit: the object, the name it goes by, and what holds it."""

    def __init__(self, obj: Any, name: str, parent: Any):
        self.obj = obj
        self.name = name
        self.parent = parent

    def __repr__(self):
        return f"FailTuple({self.name} [obj={self.obj}, parent={self.parent}])"


def report(dumps, base_obj: Any, name: str | None = None, depth: int = 3, print_file=None):
    """Prints where `dumps` fails; returns whether it takes `base_obj`, and the set of FailureTuples."""
    title = f"Checking Serializability of {base_obj}"
    ruler = "=" * min(len(title), 80)
    print(ruler, title, ruler, sep="\n", file=print_file)
    error = _failure(dumps, base_obj)
    if error is None:
        return True, set()
    search = _Search(dumps, print_file)
    search.visit(base_obj, str(base_obj) if name is None else name, None, error, depth, 0)
    shown = "\n".join(map(str, search.culprits))
    print(
        ruler,
        f"Variable: \n\n\t{shown}\n\nwas found to be non-serializable; there may be others. "
        "Make it where it is used, inside the function or class, or leave it out.",
        ruler,
        sep="\n",
        file=print_file,
    )
    return False, search.culprits


class _Search:
    def __init__(self, dumps, print_file):
        self.dumps = dumps
        self.print_file = print_file
        self.culprits = set()

    def visit(self, obj, name, parent, error, depth, level):
        self._say(level, f"!!! FAIL serialization: {error}")
        for part_name, part in _parts(obj) if depth > 0 else ():
            self._say(level + 1, f"Serializing '{part_name}' {part}...")
            part_error = _failure(self.dumps, part)
            if part_error is not None:
                self.visit(part, part_name, obj, part_error, depth - 1, level + 1)
                return
        self.culprits.add(FailureTuple(obj, name, parent))

    def _say(self, level, text):
        print("    " * level + text, file=self.print_file)


def _failure(dumps, obj):
    """Why it cannot be serialised; None if it can."""
    try:
        dumps(obj)
        return None
    except Exception as error:
        return error


def _parts(obj):
    """(name, what it is) of everything that goes with the object."""
    if inspect.isfunction(obj):
        closure = inspect.getclosurevars(obj)
        return [*closure.globals.items(), *closure.nonlocals.items()]
    if isinstance(obj, dict):
        return [(f"[{key!r}]", value) for key, value in obj.items()]
    if isinstance(obj, (list, tuple, set, frozenset)):
        return [(f"[{index}]", value) for index, value in enumerate(obj)]
    return [
        (name, value) for name, value in getattr(obj, "__dict__", {}).items() if not _is_python_internal(name, value)
    ]


def _is_python_internal(name, value) -> bool:
    return name.startswith("__") and name.endswith("__") and not inspect.isfunction(value)
