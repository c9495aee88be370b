"""Remote functions: what @ray.remote makes of a function.

`f.remote` is, once the process is connected, the C++ caller itself (an instance attribute, so a call runs no Python of
ours). It is made at the first use in a session, when the function is exported, and dropped when the session ends.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeVar, overload

from ray_engine import _core
from ray_engine._private import definitions, requests
from ray_engine._private import options as rules
from ray_engine._private.session import session
from ray_engine._private.signature import Signature, is_generator

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ray_engine._private.call_types import Dynamic, One, Refs, Remote, RemoteReturning, Several, TaskOptions
    from ray_engine.dag import FunctionNode

P = ParamSpec("P")
R = TypeVar("R")
Caller = TypeVar("Caller")

_MAX_VARIANTS = 64  # of options() per function that are remembered


class RemoteFunction(Generic[P, R]):
    """A function to be called in another process, by `.remote()`. RemoteFunction[[int], str] for type checkers."""

    remote: Remote[P, R]

    def __init__(self, function: Callable[P, R], task_options: dict[str, Any]):
        if inspect.iscoroutinefunction(function):
            raise ValueError(
                "'async def' should not be used for remote tasks. "
                "You can wrap the async function with `asyncio.run(f())`."
            )
        rules.check_task(task_options, in_options=False, is_generator=is_generator(function))
        if task_options.get("num_gpus") and task_options.get("max_calls") is None:
            task_options = {**task_options, "max_calls": 1}  # device memory is free only when its process has ended
        self._set(function, task_options)

    def _set(self, function: Callable[P, R], task_options: dict[str, Any]):
        self._function = function
        self._default_options = task_options
        self._signature: Signature | None = None
        self._variants: dict[tuple, _WithOptions] = {}  # what options() returned, by its arguments
        self._function_name = f"{function.__module__}.{function.__name__}"
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__qualname__ = function.__qualname__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    if not TYPE_CHECKING:
        # `remote` is looked up here only while it is not yet (or no longer) an attribute of the instance.
        def __getattr__(self, name):
            if name == "remote" and "_function" in self.__dict__:
                if not session.connected:
                    return self._connect_and_call
                self.remote = self._caller(self._default_options)
                session.forget_at_end(self)
                return self.remote
            raise AttributeError(f"'RemoteFunction' object has no attribute '{name}'")

    def _connect_and_call(self, *args, **kwargs):
        from ray_engine._private import lifecycle

        lifecycle.ensure_connected()
        return self.remote(*args, **kwargs)

    def _forget_session(self):
        self.__dict__.pop("remote", None)

    def _caller(self, task_options):
        function = self._function
        name = f"{function.__module__}.{function.__qualname__}"
        function_id = definitions.export("function", function, f"the function {name}")
        task_options = {**task_options, "max_calls": self._default_options.get("max_calls")}
        request = requests.task(task_options, is_generator=is_generator(function), what=function.__qualname__)
        if self._signature is None:
            self._signature = Signature.of(function)
        request.update(self._signature.options(), describe=name)
        caller = _core.TaskCaller(function_id, function.__name__, request)
        decorate = getattr(function, "__ray_invocation_decorator__", None)
        return caller if decorate is None else requests.decorated(decorate, caller)

    @overload
    def options(self, *, num_returns: One = None, **options: Unpack[TaskOptions]) -> _WithOptions[Remote[P, R]]: ...
    @overload
    def options(
        self, *, num_returns: Literal[0], **options: Unpack[TaskOptions]
    ) -> _WithOptions[RemoteReturning[P, None]]: ...
    @overload
    def options(
        self, *, num_returns: Several, **options: Unpack[TaskOptions]
    ) -> _WithOptions[RemoteReturning[P, Refs]]: ...
    @overload
    def options(
        self, *, num_returns: Literal["dynamic"], **options: Unpack[TaskOptions]
    ) -> _WithOptions[RemoteReturning[P, Dynamic]]: ...
    @overload
    def options(
        self, *, num_returns: int | str | None, **options: Unpack[TaskOptions]
    ) -> _WithOptions[RemoteReturning[P, Any]]: ...
    def options(self, **task_options: Any) -> Any:
        """The same function with other options, which are those of ray.remote(); has .remote() and .bind().

        Options that are not named stay as they are; max_calls cannot be given here. Raises ValueError or TypeError for
        an option that does not exist or cannot have this value.
        """
        try:
            key = tuple((name, type(value), value) for name, value in task_options.items())
            known = self._variants.get(key)
        except TypeError:  # a value that cannot be hashed, such as a dictionary
            return self._variant(task_options)
        if known is None:
            known = self._variant(task_options)
            if len(self._variants) < _MAX_VARIANTS:
                self._variants[key] = known
        return known

    def _variant(self, task_options):
        merged = {name: value for name, value in self._default_options.items() if name != "max_calls"}
        merged.update(task_options)
        rules.check_task(merged, in_options=True, is_generator=is_generator(self._function))
        return _WithOptions(self, merged)

    def _remote(self, args=None, kwargs=None, **task_options):
        return self.options(**task_options).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> FunctionNode:
        """A node of a graph (ray_engine.dag) that stands for this call; arguments may be nodes."""
        return self._bind(self, args, kwargs, self._default_options)

    def _bind(self, target, args, kwargs, task_options):
        from ray_engine.dag.function_node import FunctionNode

        return FunctionNode(target, self._function_name, args, kwargs, task_options)

    if not TYPE_CHECKING:

        def __call__(self, *args, **kwargs):
            raise TypeError(
                "Remote functions cannot be called directly. Instead "
                f"of running '{self._function_name}()', try '{self._function_name}.remote()'."
            )

    def __getstate__(self):
        return {"function": self._function, "options": self._default_options}

    def __setstate__(self, state):
        self._set(state["function"], state["options"])


def _connecting_first(owner: RemoteFunction, task_options):
    """owner.options(**task_options).remote as long as there is no session."""
    from ray_engine._private import lifecycle

    def remote(*args, **kwargs):
        lifecycle.ensure_connected()
        return owner.options(**task_options).remote(*args, **kwargs)

    return remote


class _WithOptions(Generic[Caller]):
    """What f.options(...) returns. Its `remote` is the C++ caller, like that of the function."""

    remote: Caller

    def __init__(self, owner: RemoteFunction, task_options):
        self._owner = owner
        self._options = task_options

    if not TYPE_CHECKING:

        def __getattr__(self, name):
            if name != "remote":
                raise AttributeError(f"'RemoteFunction' object has no attribute '{name}'")
            if not session.connected:
                return _connecting_first(self._owner, self._options)
            self.remote = self._owner._caller(self._options)
            session.forget_at_end(self)
            return self.remote

    def _forget_session(self):
        self.__dict__.pop("remote", None)

    def bind(self, *args: Any, **kwargs: Any) -> FunctionNode:
        """A node of a graph (ray_engine.dag) that stands for this call; arguments may be nodes."""
        return self._owner._bind(self, args, kwargs, self._options)

    def __getstate__(self):
        return {"_owner": self._owner, "_options": self._options}
