"""MultiOutputNode: the end of a graph with several results."""

from ray_engine.dag.dag_node import DAGNode


class MultiOutputNode(DAGNode):
    """execute() of it gives the list of the results of these nodes. Raises ValueError for anything but a list."""

    def __init__(self, args: list[DAGNode] | tuple[DAGNode, ...]):
        if not isinstance(args, (list, tuple)):
            raise ValueError(f"Invalid input type for `args`, {type(args)}: a list of nodes is expected.")
        super().__init__(tuple(args), {}, {})

    def _execute(self, run):
        return list(run.resolve(self._bound_args))

    def __repr__(self):
        return f"MultiOutputNode({list(self._bound_args)})"
