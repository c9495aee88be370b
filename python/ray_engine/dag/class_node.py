"""ClassNode and ClassMethodNode: an actor that will be made, and calls of its methods (or of those of a living actor).

The calls of one ClassNode's actor run in the order they were bound: each needs the one before it.
"""

from typing import Any

from ray_engine.dag.dag_node import DAGNode, find_nodes
from ray_engine.dag.input_node import InputAttributeNode, InputNode

PARENT_CLASS_NODE_KEY = "parent_class_node"
PREV_CLASS_METHOD_CALL_KEY = "prev_class_method_call"


class ClassNode(DAGNode):
    """An actor that each execute() makes anew. `target`: an actor class, or one with options."""

    def __init__(self, target: Any, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]):
        super().__init__(args, kwargs, options)
        self._target = target
        self._body = cls
        self._last_call: ClassMethodNode | None = None
        if any(isinstance(node, (InputNode, InputAttributeNode)) for node in find_nodes([args, kwargs])):
            raise ValueError(
                "InputNode handles user dynamic input the DAG, and cannot be used as args, kwargs, or "
                "other_args_to_resolve in ClassNode constructor because it is not available at class construction or "
                "binding time."
            )

    def _execute(self, run):
        return self._target.remote(*run.resolve(self._bound_args), **run.resolve(self._bound_kwargs))

    def __getattr__(self, name):
        if "_body" not in self.__dict__ or (name == "bind" and not hasattr(self._body, "bind")):
            return super().__getattr__(name)
        getattr(self._body, name)  # raises where there is no such method
        return _Method(self, name)

    def __repr__(self):
        return f"ClassNode({self._body.__name__})"


class _Method:
    """A method of a ClassNode: has bind() and options()."""

    def __init__(self, actor: ClassNode, name: str, options: dict | None = None):
        self._actor = actor
        self._name = name
        self._options = options or {}

    def options(self, **options):
        return _Method(self._actor, self._name, options)

    def bind(self, *args, **kwargs):
        depends_on = {PARENT_CLASS_NODE_KEY: self._actor, PREV_CLASS_METHOD_CALL_KEY: self._actor._last_call}
        call = ClassMethodNode(self._name, args, kwargs, self._options, depends_on)
        self._actor._last_call = call
        return call

    def __getattr__(self, name):
        if name == "remote":
            raise AttributeError(
                ".remote() cannot be used on ClassMethodNodes. Use .bind() instead to describe a call of the method."
            )
        raise AttributeError(f"the method {self.__dict__.get('_name')} of a ClassNode has no attribute '{name}'")


class ClassMethodNode(DAGNode):
    """A call of a method. The parent is a ClassNode, or the handle of a living actor."""

    def __init__(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        depends_on: dict[str, Any],
    ):
        super().__init__(args, kwargs, options, depends_on)
        self._method_name = name

    def get_method_name(self) -> str:
        """The name of the method."""
        return self._method_name

    def _execute(self, run):
        method = getattr(run.resolve(self._depends_on[PARENT_CLASS_NODE_KEY]), self._method_name)
        method = method.options(**self._bound_options) if self._bound_options else method
        return method.remote(*run.resolve(self._bound_args), **run.resolve(self._bound_kwargs))

    def __repr__(self):
        return f"ClassMethodNode({self._method_name})"


class MethodOutputNode(DAGNode):
    """One of the results of a call with several."""

    def __init__(self, call: ClassMethodNode, index: int):
        super().__init__((call,), {}, {})
        self._index = index

    def _execute(self, run):
        return run.resolve(self._bound_args[0])[self._index]

    def __repr__(self):
        return f"{self._bound_args[0]}[{self._index}]"


def bind_method(
    handle: Any,
    name: str,
    num_returns: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: dict[str, Any],
) -> ClassMethodNode | tuple[MethodOutputNode, ...]:
    """A call of a living actor; with several returns a tuple of nodes, one for each."""
    call = ClassMethodNode(name, args, kwargs, options, {PARENT_CLASS_NODE_KEY: handle})
    if not isinstance(num_returns, int) or num_returns < 2:
        return call
    return tuple(MethodOutputNode(call, index) for index in range(num_returns))
