"""DAGNode: a call that has been described but not made, and how a graph of them is run.

Nodes among the arguments of a node are found inside lists, tuples, dictionaries and sets too.

Immutable once made, but for ClassNode, which knows the last call of its actor.
"""

import uuid
from collections.abc import Iterator
from typing import Any, NoReturn

from ray_engine._private import unavailable


class DAGNode:
    """What all nodes have in common. `depends_on`: nodes that come first though they are no arguments."""

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        depends_on: dict[str, Any] | None = None,
    ):
        self._bound_args = args
        self._bound_kwargs = kwargs
        self._bound_options = options
        self._depends_on = depends_on or {}
        self._stable_uuid = uuid.uuid4().hex

    def get_args(self) -> tuple[Any, ...]:
        """The arguments by place, as they were bound."""
        return self._bound_args

    def get_kwargs(self) -> dict[str, Any]:
        """The arguments by name, as they were bound."""
        return dict(self._bound_kwargs)

    def get_options(self) -> dict[str, Any]:
        """The options of the call."""
        return dict(self._bound_options)

    def get_other_args_to_resolve(self) -> dict[str, Any]:
        """What it needs beside its arguments: of a method its actor and the call before it."""
        return dict(self._depends_on)

    def get_stable_uuid(self) -> str:
        """An id that copies of this node share."""
        return self._stable_uuid

    def children(self) -> list["DAGNode"]:
        """The nodes that this one needs, each once."""
        found = list(find_nodes([self._depends_on, self._bound_args, self._bound_kwargs]))
        return list({id(node): node for node in found}.values())

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Makes every call of the graph that ends in this node. `args` and `kwargs` are what InputNode stands for.

        Returns a reference to the result: a list of them for a MultiOutputNode or a call of several returns, a handle
        for an actor.
        """
        run = Run(args, kwargs)
        for node in _in_order(self):
            run.values[id(node)] = node._execute(run)
        return run.values[id(self)]

    def experimental_compile(self, *_: Any, **__: Any) -> NoReturn:
        """Raises NotImplementedError: there are no compiled graphs."""
        raise NotImplementedError(unavailable.message("experimental_compile() of a DAG (use execute())"))

    def with_tensor_transport(self, *_: Any, **__: Any) -> NoReturn:
        """Raises NotImplementedError: tensors travel inside values."""
        raise NotImplementedError(unavailable.message("with_tensor_transport()"))

    def _execute(self, run: "Run") -> Any:
        """Makes the call; what it needs has been executed."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> Any:
        if name == "bind":
            raise AttributeError(f".bind() cannot be used again on {type(self)}")
        if name == "remote":
            raise AttributeError(f".remote() cannot be used on {type(self)}. To run the graph use .execute().")
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")


class Run:
    """One execution: what came out of each node so far, and the input."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self.args = args
        self.kwargs = kwargs
        self.input_node: DAGNode | None = None
        self.values: dict[int, Any] = {}  # id of a node -> what came out of it

    def resolve(self, value: Any) -> Any:
        """The value with results in place of nodes."""
        if isinstance(value, DAGNode):
            return self.values[id(value)]
        if isinstance(value, dict):
            return _like(value, ((self.resolve(key), self.resolve(item)) for key, item in value.items()))
        if isinstance(value, (list, tuple, set, frozenset)):
            return _like(value, (self.resolve(item) for item in value))
        return value


def _like(container, items):
    """A container of the same kind; itself where nothing has to be replaced."""
    if next(find_nodes(container), None) is None:
        return container
    return type(container)(*items) if hasattr(container, "_fields") else type(container)(items)


def find_nodes(value: Any) -> Iterator[DAGNode]:
    """The nodes in an argument."""
    if isinstance(value, DAGNode):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from find_nodes(key)
            yield from find_nodes(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from find_nodes(item)


def _in_order(last: DAGNode) -> list[DAGNode]:
    """All nodes of the graph, each behind what it needs."""
    order: list[DAGNode] = []
    seen: set[int] = set()
    stack = [(last, False)]
    while stack:
        node, expanded = stack.pop()
        if expanded:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in reversed(node.children()))
    return order
