"""Graphs of calls, described by bind() and run by execute(): f.bind(g.bind(1)).execute() gives a reference.

A node stands for a call whose arguments may be other nodes. execute() submits every call of the graph once; the values
go from task to task. There are no compiled graphs: experimental_compile() is refused.
"""

from typing import TYPE_CHECKING

from ray_engine.dag.class_node import PARENT_CLASS_NODE_KEY, PREV_CLASS_METHOD_CALL_KEY, ClassMethodNode, ClassNode
from ray_engine.dag.dag_node import DAGNode
from ray_engine.dag.function_node import FunctionNode
from ray_engine.dag.input_node import DAGInputData, InputAttributeNode, InputNode
from ray_engine.dag.output_node import MultiOutputNode

__all__ = [
    "PARENT_CLASS_NODE_KEY",
    "PREV_CLASS_METHOD_CALL_KEY",
    "ClassMethodNode",
    "ClassNode",
    "DAGInputData",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
]

_COMPILED = frozenset({"CollectiveOutputNode", "CompiledDAG", "DAGContext", "DAGOperationFuture", "GPUFuture", "plot"})

if not TYPE_CHECKING:

    def __getattr__(name):
        from ray_engine._private import unavailable

        raise unavailable.attribute(__name__, name, _COMPILED)
