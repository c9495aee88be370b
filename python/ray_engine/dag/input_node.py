"""InputNode: stands for what execute() will be given, as a whole or in parts."""

from typing import Any

from ray_engine.dag.dag_node import DAGNode


class InputNode(DAGNode):
    """`with InputNode() as data: dag = f.bind(data)`; data[0], data["key"] and data.name stand for a part of it.

    What a single argument of execute() is stands for itself; several are found by their places and names.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        if args or kwargs:
            raise ValueError("InputNode should not take any args or kwargs.")
        super().__init__((), {}, {})
        self._in_context = False
        self._parts: dict[tuple[int | str, bool], InputAttributeNode] = {}

    def __enter__(self) -> "InputNode":
        self._in_context = True
        return self

    def __exit__(self, *_):
        pass

    def _execute(self, run):
        assert self._in_context, (
            "InputNode is a singleton instance that should be only used in context manager for dag building and "
            "execution: with InputNode() as data: ..."
        )
        assert run.input_node in (None, self), "Each DAG should only have one unique InputNode."
        run.input_node = self
        if len(run.args) == 1 and not run.kwargs:
            return run.args[0]
        return DAGInputData(*run.args, **run.kwargs)

    def __getitem__(self, key: int | str) -> "InputAttributeNode":
        assert isinstance(key, (int, str)), (
            "Please only use int index or str as first-level key to access fields of dag input."
        )
        return self._part(key, by_attribute=False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_parts" not in self.__dict__:
            raise AttributeError(f"'InputNode' object has no attribute '{name}'")
        return self._part(name, by_attribute=True)

    def _part(self, key, by_attribute):
        if (key, by_attribute) not in self._parts:
            self._parts[key, by_attribute] = InputAttributeNode(self, key, by_attribute)
        return self._parts[key, by_attribute]

    def __repr__(self):
        return "InputNode()"


class InputAttributeNode(DAGNode):
    """A part of the input."""

    def __init__(self, input_node: InputNode, key: int | str, by_attribute: bool):
        super().__init__((), {}, {}, {"dag_input_node": input_node})
        self._key = key
        self._by_attribute = by_attribute

    @property
    def key(self) -> int | str:
        """The place or name of the part."""
        return self._key

    def _execute(self, run):
        data = run.resolve(self._depends_on["dag_input_node"])
        if self._by_attribute and not isinstance(data, DAGInputData):
            return getattr(data, str(self._key))
        return data[self._key]

    def __repr__(self):
        return f"InputNode().{self._key}" if self._by_attribute else f"InputNode()[{self._key!r}]"


class DAGInputData:
    """What several arguments of execute() are together: data[0] is the first, data["name"] the one of that name."""

    def __init__(self, *args: Any, **kwargs: Any):
        self._args = list(args)
        self._kwargs = kwargs

    def __getitem__(self, key: int | str) -> Any:
        return self._args[key] if isinstance(key, int) else self._kwargs[key]
