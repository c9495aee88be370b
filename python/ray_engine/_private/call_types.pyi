"""How calls of remote functions and methods look to type checkers. For them alone: nothing imports this at run time.

A call takes what the function takes, by place or by name; by place (up to six arguments) a reference does as well as
the value it stands for. It returns a reference, or a generator of references where the function yields.

The kinds of return are told apart by the type of `self`, so that a function without annotations is still checked for
the number of its arguments: its return type, Any, fits the first kind alone.
"""

# Of the overloads the first that fits is meant; that others would fit too is the point.
# mypy: disable-error-code="overload-overlap"

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any, Generic, Literal, NoReturn, ParamSpec, Protocol, TypeAlias, TypedDict, TypeVar, overload

from typing_extensions import Unpack

from ray_engine._core import ObjectRef, ObjectRefGenerator
from ray_engine._private.generators import DynamicObjectRefGenerator
from ray_engine.actor import ActorClass
from ray_engine.remote_function import RemoteFunction
from ray_engine.runtime_env import RuntimeEnv
from ray_engine.util.placement_group import PlacementGroup
from ray_engine.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

P = ParamSpec("P")
R = TypeVar("R")
Y = TypeVar("Y")
T = TypeVar("T")
T0 = TypeVar("T0")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")
Out = TypeVar("Out")
Out_co = TypeVar("Out_co", covariant=True)
Function_co = TypeVar("Function_co", bound=Callable[..., Any], covariant=True)

Arg: TypeAlias = T | ObjectRef[T]
Stream: TypeAlias = Generator[Y, Any, Any] | AsyncGenerator[Y, Any] | Iterator[Y] | AsyncIterator[Y]

# ---- calls ----------------------------------------------------------------------------------------------------------

class Like(Protocol[Function_co]):
    """A call of a function of this type."""

    @property
    def _function(self) -> Function_co: ...

class LikeReturning(Protocol[Function_co, Out_co]):
    """The same where the number of returns was given."""

    @property
    def _function(self) -> Function_co: ...
    @property
    def _returns(self) -> Out_co: ...

# fmt: off
class Remote(Generic[P, R]):
    """`f.remote` of a function, or of an actor's method."""

    @property
    def _function(self) -> Callable[P, R]: ...

    # What it returns is not said.
    @overload
    def __call__(self: Like[Callable[P, NoReturn]], *args: P.args, **kwargs: P.kwargs) -> ObjectRef[Any]: ...
    @overload
    def __call__(self: Like[Callable[[T0], NoReturn]], a0: Arg[T0], /) -> ObjectRef[Any]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1], NoReturn]], a0: Arg[T0], a1: Arg[T1], /) -> ObjectRef[Any]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2], NoReturn]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], /) -> ObjectRef[Any]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3], NoReturn]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], /) -> ObjectRef[Any]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3, T4], NoReturn]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], a4: Arg[T4], /) -> ObjectRef[Any]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3, T4, T5], NoReturn]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], a4: Arg[T4], a5: Arg[T5], /) -> ObjectRef[Any]: ...
    # It yields.
    @overload
    def __call__(self: Like[Callable[P, Stream[Y]]], *args: P.args, **kwargs: P.kwargs) -> ObjectRefGenerator[Y]: ...
    @overload
    def __call__(self: Like[Callable[[T0], Stream[Y]]], a0: Arg[T0], /) -> ObjectRefGenerator[Y]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1], Stream[Y]]], a0: Arg[T0], a1: Arg[T1], /) -> ObjectRefGenerator[Y]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2], Stream[Y]]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], /) -> ObjectRefGenerator[Y]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3], Stream[Y]]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], /) -> ObjectRefGenerator[Y]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3, T4], Stream[Y]]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], a4: Arg[T4], /) -> ObjectRefGenerator[Y]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3, T4, T5], Stream[Y]]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], a4: Arg[T4], a5: Arg[T5], /
                 ) -> ObjectRefGenerator[Y]: ...
    # It returns an R.
    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> ObjectRef[R]: ...
    @overload
    def __call__(self: Like[Callable[[T0], R]], a0: Arg[T0], /) -> ObjectRef[R]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1], R]], a0: Arg[T0], a1: Arg[T1], /) -> ObjectRef[R]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2], R]], a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], /) -> ObjectRef[R]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3], R]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], /) -> ObjectRef[R]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3, T4], R]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], a4: Arg[T4], /) -> ObjectRef[R]: ...
    @overload
    def __call__(self: Like[Callable[[T0, T1, T2, T3, T4, T5], R]],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], a4: Arg[T4], a5: Arg[T5], /) -> ObjectRef[R]: ...


class RemoteReturning(Generic[P, Out]):
    """The same where num_returns was given."""

    @property
    def _function(self) -> Callable[P, Any]: ...
    @property
    def _returns(self) -> Out: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out: ...
    @overload
    def __call__(self: LikeReturning[Callable[[T0], Any], Out], a0: Arg[T0], /) -> Out: ...
    @overload
    def __call__(self: LikeReturning[Callable[[T0, T1], Any], Out], a0: Arg[T0], a1: Arg[T1], /) -> Out: ...
    @overload
    def __call__(self: LikeReturning[Callable[[T0, T1, T2], Any], Out],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], /) -> Out: ...
    @overload
    def __call__(self: LikeReturning[Callable[[T0, T1, T2, T3], Any], Out],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], /) -> Out: ...
    @overload
    def __call__(self: LikeReturning[Callable[[T0, T1, T2, T3, T4], Any], Out],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], a4: Arg[T4], /) -> Out: ...
    @overload
    def __call__(self: LikeReturning[Callable[[T0, T1, T2, T3, T4, T5], Any], Out],
                 a0: Arg[T0], a1: Arg[T1], a2: Arg[T2], a3: Arg[T3], a4: Arg[T4], a5: Arg[T5], /) -> Out: ...
# fmt: on

# ---- options --------------------------------------------------------------------------------------------------------

SchedulingStrategy: TypeAlias = (
    Literal["DEFAULT", "SPREAD"]
    | PlacementGroupSchedulingStrategy
    | NodeAffinitySchedulingStrategy
    | NodeLabelSchedulingStrategy
)
Exceptions: TypeAlias = bool | list[type[Exception]] | tuple[type[Exception], ...]

class CommonOptions(TypedDict, total=False):
    """Options of tasks and actors. `memory` is in bytes."""

    name: str | None
    num_cpus: float | None
    num_gpus: float | None
    memory: float | None
    resources: dict[str, float] | None
    accelerator_type: str | None
    label_selector: dict[str, str] | None
    fallback_strategy: list[dict[str, Any]] | None
    scheduling_strategy: SchedulingStrategy | None
    placement_group: PlacementGroup | Literal["default"] | None
    placement_group_bundle_index: int
    placement_group_capture_child_tasks: bool | None
    runtime_env: RuntimeEnv | dict[str, Any] | None
    enable_task_events: bool
    object_store_memory: int | None
    _labels: dict[str, str] | None

class _OfTasks(TypedDict, total=False):
    max_calls: int | None
    max_retries: int | None
    retry_exceptions: Exceptions
    _generator_backpressure_num_objects: int | None
    _num_objects_per_yield: int | None

class _OfActors(TypedDict, total=False):
    namespace: str | None
    lifetime: Literal["detached", "non_detached"] | None
    get_if_exists: bool
    max_concurrency: int | None
    concurrency_groups: dict[str, int] | list[dict[str, Any]] | None
    max_restarts: int | None
    max_task_retries: int | None
    max_pending_calls: int | None
    allow_out_of_order_execution: bool | None
    enable_tensor_transport: bool | None
    _actor_generator_backpressure_num_objects: int | None

class TaskOptions(CommonOptions, _OfTasks, total=False):
    """Options of a task, but for num_returns."""

class ActorOptions(CommonOptions, _OfActors, total=False):
    """Options of an actor."""

class AnyOptions(CommonOptions, _OfTasks, _OfActors, total=False):
    """Options of either."""

class MethodOptions(TypedDict, total=False):
    """Options of a call of an actor's method, but for num_returns."""

    name: str | None
    concurrency_group: str | None
    max_task_retries: int | None
    retry_exceptions: Exceptions
    enable_task_events: bool
    tensor_transport: str | None
    _generator_backpressure_num_objects: int | None
    _labels: dict[str, str] | None

# ---- num_returns ----------------------------------------------------------------------------------------------------

One: TypeAlias = Literal[1, "streaming"] | None  # a reference, or a generator: what the function says
Several: TypeAlias = Literal[2, 3, 4, 5, 6, 7, 8, 9, 10]
Refs: TypeAlias = list[ObjectRef[Any]]
Dynamic: TypeAlias = ObjectRef[DynamicObjectRefGenerator]

class FunctionReturning(Generic[P, Out]):
    """A RemoteFunction whose number of returns was given."""

    remote: RemoteReturning[P, Out]

    def options(self, *, num_returns: Any = None, **task_options: Unpack[TaskOptions]) -> Any: ...
    def bind(self, *args: Any, **kwargs: Any) -> Any: ...

class Decorator(Protocol):
    """What remote(num_cpus=...) returns."""

    @overload
    def __call__(self, definition: type[T], /) -> ActorClass[T]: ...
    @overload
    def __call__(self, definition: Callable[P, R], /) -> RemoteFunction[P, R]: ...

class DecoratorReturning(Protocol[Out]):
    """What remote(num_returns=...) returns."""

    def __call__(self, definition: Callable[P, Any], /) -> FunctionReturning[P, Out]: ...

class MethodReturning(Generic[P, Out]):
    """An ActorMethod whose number of returns was given."""

    remote: RemoteReturning[P, Out]

    def options(self, *, num_returns: Any = None, **method_options: Unpack[MethodOptions]) -> Any: ...
    def bind(self, *args: Any, **kwargs: Any) -> Any: ...
