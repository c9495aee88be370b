"""FunctionNode: a task that has been described, by f.bind()."""

from typing import Any

from ray_engine.dag.dag_node import DAGNode


class FunctionNode(DAGNode):
    """`target`: a remote function, or one with options."""

    def __init__(self, target: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]):
        super().__init__(args, kwargs, options)
        self._target = target
        self._name = name

    def _execute(self, run):
        return self._target.remote(*run.resolve(self._bound_args), **run.resolve(self._bound_kwargs))

    def __repr__(self):
        return f"FunctionNode({self._name})"
