"""Actors: what @ray.remote makes of a class, the handles to its instances, and what is said inside an actor.

A handle holds one count of its actor (_core.ActorRef): the actor ends when the last handle of all processes is gone.
Handles that get_actor() returns are weak and hold none. The methods of a handle are made at first use and kept in the
handle's __dict__; `handle.method.remote` is the C++ caller, so a call runs no Python of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, ParamSpec, TypeVar, overload

from ray_engine import _core
from ray_engine._private import (
    actor_description,
    definitions,
    error_channel,
    lifecycle,
    requests,
    serialization,
    unavailable,
)
from ray_engine._private import options as rules
from ray_engine._private.actor_description import METHOD_MARKS, ClassDescription, MethodDescription
from ray_engine._private.ids import ActorID
from ray_engine._private.session import check_namespace, session
from ray_engine._private.signature import is_generator
from ray_engine._private.system_methods import exit_actor as exit_actor
from ray_engine.exceptions import ActorAlreadyExistsError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ray_engine._private.call_types import (
        ActorOptions,
        Dynamic,
        Exceptions,
        MethodOptions,
        MethodReturning,
        One,
        Refs,
        Remote,
        Several,
    )
    from ray_engine.dag import ClassNode

_SYSTEM_GROUP = "_ray_system"  # the concurrency group that every actor has
_ActorClassMethodMetadata = ClassDescription  # as Ray's programs call it

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")
Function = TypeVar("Function", bound=Callable[..., Any])


class ActorClassInheritanceException(TypeError):
    """A class was derived from an actor class."""


# ---- classes --------------------------------------------------------------------------------------------------------


class ActorClass(Generic[T]):
    """A class whose instances live in processes of their own, made by `.remote()`."""

    def __init__(self, name, bases, namespace):
        # Python calls this for `class name(an actor class):`. Actor classes themselves are made by _of().
        names = [base._name for base in bases if isinstance(base, ActorClass)]
        raise ActorClassInheritanceException(
            f"Attempted to define subclass '{name}' of actor class '{', '.join(names)}'. Inheriting from actor classes "
            "is not currently supported; derive from the plain class and decorate the result."
        )

    @classmethod
    def _of(cls, user_class: type[T], actor_options: dict[str, Any]) -> ActorClass[T]:
        rules.check_actor(actor_options, in_options=False)
        self = cls.__new__(cls)
        self._set(user_class, actor_options)
        return self

    def _set(self, user_class: type[T], actor_options: dict[str, Any]):
        self._class = user_class
        self._name = user_class.__name__
        self._default_options = actor_options
        self._description: ClassDescription | None = None
        self._blobs: dict[tuple, bytes] = {}  # settings -> pickled description
        self.__doc__ = user_class.__doc__
        self.__module__ = user_class.__module__

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[T]:
        """Makes an actor; the arguments go to __init__. Returns its handle at once.

        Raises TypeError if __init__ does not take these arguments, ActorAlreadyExistsError if the name is taken.
        """
        return self._create(args, kwargs, self._default_options)

    def options(self, **actor_options: Unpack[ActorOptions]) -> _ActorClassWithOptions[T]:
        """The same class with other options, which are those of ray.remote(); has .remote() and .bind().

        Options that are not named stay as they are; concurrency_groups cannot be given here. Raises ValueError or
        TypeError for an option that does not exist or cannot have this value.
        """
        merged: dict[str, Any] = {
            name: value for name, value in self._default_options.items() if name != "concurrency_groups"
        }
        merged.update(actor_options)
        rules.check_actor(merged, in_options=True)
        return _ActorClassWithOptions(self, merged)

    def _remote(self, args=None, kwargs=None, **actor_options):
        return self.options(**actor_options).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> ClassNode:
        """A node of a graph (ray_engine.dag) that stands for an actor of this class; arguments may be nodes."""
        return self._bind(self, args, kwargs, self._default_options)

    def _bind(self, target, args, kwargs, actor_options):
        from ray_engine.dag.class_node import ClassNode

        return ClassNode(target, self._class, args, kwargs, actor_options)

    def _create(self, args, kwargs, actor_options) -> ActorHandle[T]:
        name, namespace = actor_options.get("name"), actor_options.get("namespace")
        if name == "":
            raise ValueError("Actor name cannot be an empty string.")
        check_namespace(namespace)
        lifecycle.ensure_connected()
        if actor_options.get("get_if_exists"):
            return self._get_or_create(args, kwargs, actor_options)
        description = self._describe()
        description.methods["__init__"].signature.check_call(args, kwargs)
        request = requests.actor(actor_options, is_async=description.is_async, what=self._class.__qualname__)
        settings = {name: request[name] for name in ("max_task_retries", "max_pending_calls", "out_of_order")}
        settings["concurrency_groups"] = tuple(name for name, _ in request["concurrency_groups"])
        blob = self._pickled(settings)
        class_id = definitions.export("class", self._class, f"the actor class {description.full_name}.__init__")
        request.update(class_name=self._name, handle=blob, describe=f"{description.full_name}.__init__")
        if name and not namespace and request["detached"] and session.has_own_namespace:
            error_channel.report(
                error_channel.UNREACHABLE_ACTOR,
                f"The detached actor {name!r} lies in the namespace {session.namespace}, which this job alone uses. "
                "For other programs to find it, give it a namespace (.options(namespace=...), or init(namespace=...)).",
            )
        return ActorHandle(_create_actor(class_id, args, kwargs, request), description, settings, blob)

    def _get_or_create(self, args, kwargs, actor_options) -> ActorHandle[T]:
        name, namespace = actor_options["name"], actor_options.get("namespace")
        try:
            return get_actor(name, namespace)
        except ValueError:
            pass
        try:
            return self._create(args, kwargs, {**actor_options, "get_if_exists": False})
        except ActorAlreadyExistsError as taken:
            try:
                return get_actor(name, namespace)  # made by someone else meanwhile
            except ValueError:
                raise taken from None  # by an actor that is dead

    def _pickled(self, settings) -> bytes:
        key = tuple(settings.items())
        if key not in self._blobs:
            self._blobs[key] = actor_description.pickled(self._describe(), settings)
        return self._blobs[key]

    def _describe(self) -> ClassDescription:
        if self._description is None:
            self._description = actor_description.describe(self._class)
        return self._description

    @property
    def __ray_metadata__(self):
        return _Metadata(self._class, self._describe())

    def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{self._name}()', use '{self._name}.remote()'."
        )

    # Attributes of the user's class: constants, static methods, ...
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "_class" not in self.__dict__:
            raise AttributeError(f"'ActorClass' object has no attribute '{name}'")
        return getattr(self._class, name)

    def __dir__(self):
        methods = (name for name in self._describe().methods if not name.startswith("__"))
        return ["bind", "options", "remote", *methods]

    def __repr__(self):
        return f"ActorClass({self._name})"

    def __getstate__(self):
        return {"class": self._class, "options": self._default_options}

    def __setstate__(self, state):
        self._set(state["class"], state["options"])


class _Metadata:
    """What libraries ask an actor class for."""

    def __init__(self, user_class, description):
        self.modified_class = user_class
        self.class_name = description.class_name
        self.method_meta = description


class _ActorClassWithOptions(Generic[T]):
    """What A.options(...) returns."""

    def __init__(self, owner: ActorClass[T], actor_options):
        self._owner = owner
        self._options = actor_options

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[T]:
        """Makes an actor; the arguments go to __init__. Returns its handle at once."""
        return self._owner._create(args, kwargs, self._options)

    def bind(self, *args: Any, **kwargs: Any) -> ClassNode:
        """A node of a graph (ray_engine.dag) that stands for an actor of this class; arguments may be nodes."""
        return self._owner._bind(self, args, kwargs, self._options)


def _create_actor(class_id, args, kwargs, request):
    try:
        return _core.create_actor(class_id, args, kwargs, request)
    except ValueError as error:
        if not request["name"]:
            raise
        raise ActorAlreadyExistsError(str(error)) from None


def get_actor(name: str, namespace: str | None = None) -> ActorHandle[Any]:
    """A handle to the living actor of this name, in the current name space or the one given.

    The handle is weak: it does not keep the actor alive. Raises ValueError if there is no such actor, or the name is
    empty.
    """
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    check_namespace(namespace)
    lifecycle.ensure_connected()
    found = _core.get_actor(name, namespace or session.namespace)
    if found is None:
        raise ValueError(
            f"Failed to look up actor with name '{name}': there is no living actor of that name in the namespace "
            f"'{namespace or session.namespace}'."
        )
    blob, actor_ref = found
    blob = bytes(blob)
    return ActorHandle(actor_ref, *actor_description.load(blob), blob)


# ---- handles --------------------------------------------------------------------------------------------------------


class ActorHandle(Generic[T]):
    """A reference to an actor: `handle.method.remote(...)` calls a method and returns a reference to the result.

    ActorHandle[Account] for type checkers. The plugin ray_engine.mypy_plugin lets mypy know the methods.
    """

    def __init__(self, actor_ref: _core.ActorRef, description: ClassDescription, settings: dict[str, Any], blob: bytes):
        self._ray_actor_ref = actor_ref
        self._ray_description = description
        self._ray_settings = settings
        self._ray_blob = blob
        self._ray_session = session.number

    @property
    def _actor_id(self) -> ActorID:
        return ActorID(self._ray_actor_ref.id())

    _ray_actor_id = _actor_id

    @property
    def _ray_weak_ref(self) -> bool:
        return self._ray_actor_ref.weak

    # Methods come here at first use only.
    def __getattr__(self, name: str) -> ActorMethod[..., Any]:
        description: ClassDescription | None = self.__dict__.get("_ray_description")
        method = description.methods.get(name) if description is not None else None
        if description is None or method is None:
            raise AttributeError(f"'ActorHandle' object has no attribute '{name}'")
        bound: ActorMethod[..., Any] = ActorMethod(self._ray_actor_ref, description, method, self._ray_settings)
        self.__dict__[name] = bound
        return bound

    def __dir__(self):
        return list(self._ray_description.methods)

    def __hash__(self):
        return hash(self._ray_actor_ref.id())

    def __eq__(self, other):
        if not isinstance(other, ActorHandle):
            return NotImplemented
        return self._ray_actor_ref.id() == other._ray_actor_ref.id()

    def __repr__(self):
        return f"Actor({self._ray_description.class_name}, {self._ray_actor_ref.id().hex()})"

    def __reduce__(self):
        # Outside of arguments and values the engine cannot count the copy, so it is a weak one.
        return _load_handle, (self._ray_actor_ref.id(), None, self._ray_blob)


def _reduce_handle(pickler, handle):
    """How a handle goes into arguments and values: by a reference that keeps the actor alive."""
    if pickler.refs is None or handle._ray_weak_ref:
        return handle.__reduce__()
    index = serialization.add_ref(pickler, handle._ray_actor_ref.ref)
    return _load_handle, (handle._ray_actor_ref.id(), index, handle._ray_blob)


def _load_handle(actor_id, index, blob):
    ref = None if index is None else serialization.ref_at(index)
    return ActorHandle(_core.ActorRef(actor_id, ref), *actor_description.load(blob), blob)


serialization.add_reducer(ActorHandle, _reduce_handle)


class ActorMethod(Generic[P, R]):
    """A method of an actor: `.remote()` calls it. It holds the actor, not the handle, so handles are in no cycle."""

    __slots__ = ("remote", "_actor_ref", "_description", "_method", "_options", "_settings")

    remote: Remote[P, R]

    def __init__(
        self,
        actor_ref: _core.ActorRef,
        description: ClassDescription,
        method: MethodDescription,
        settings: dict[str, Any],
        method_options: dict[str, Any] | None = None,
    ):
        self._actor_ref = actor_ref
        self._description = description
        self._method = method
        self._settings = settings
        self._options = method_options or {}
        self.remote = self._caller(self._options)

    def _caller(self, given: dict[str, Any]) -> Any:
        method = self._method

        def chosen(name):
            value = given.get(name)
            return getattr(method, name) if value is None else value

        retries = chosen("max_task_retries")
        name = f"{self._description.class_name}.{method.name}"
        request = {
            **requests.returns(
                chosen("num_returns"), method.is_generator, chosen("_generator_backpressure_num_objects")
            ),
            "max_task_retries": self._settings["max_task_retries"] if retries is None else retries,
            **requests.retry(chosen("retry_exceptions")),
            "concurrency_group": self._group(chosen("concurrency_group")),
            "out_of_order": self._settings["out_of_order"],
            "max_pending_calls": self._settings["max_pending_calls"],
            "name": given.get("name") or "",
            **method.signature.options(),
            "describe": f"{self._description.module}.{name}",
        }
        caller = _core.MethodCaller(self._actor_ref, method.name, request)
        return caller if method.decorator is None else requests.decorated(method.decorator, caller)

    def _group(self, name) -> int:
        if name is None:
            return 0
        names = self._settings.get("concurrency_groups", ())
        if name not in names and name == _SYSTEM_GROUP:
            return _core.SYSTEM_GROUP
        if name not in names:
            raise ValueError(
                f"the actor {self._description.class_name} has no concurrency group {name!r}, only {names}"
            )
        return names.index(name) + 1

    @overload
    def options(self, *, num_returns: One = None, **options: Unpack[MethodOptions]) -> ActorMethod[P, R]: ...
    @overload
    def options(self, *, num_returns: Literal[0], **options: Unpack[MethodOptions]) -> MethodReturning[P, None]: ...
    @overload
    def options(self, *, num_returns: Several, **options: Unpack[MethodOptions]) -> MethodReturning[P, Refs]: ...
    @overload
    def options(
        self, *, num_returns: Literal["dynamic"], **options: Unpack[MethodOptions]
    ) -> MethodReturning[P, Dynamic]: ...
    @overload
    def options(
        self, *, num_returns: int | str | None, **options: Unpack[MethodOptions]
    ) -> MethodReturning[P, Any]: ...
    def options(self, **method_options: Any) -> Any:
        """The same method with other options, which are those of ray.method() and `name`; has .remote() and .bind().

        Raises ValueError for an option that does not exist.
        """
        for name in method_options:
            if name not in rules.METHOD and name not in ("name", "_labels"):
                raise ValueError(
                    f"Invalid option keyword {name} for actor methods. Valid ones are {['name', *rules.METHOD]}."
                )
        if method_options.get("tensor_transport") is not None:
            raise unavailable.option("tensor_transport", method_options["tensor_transport"])
        return ActorMethod(self._actor_ref, self._description, self._method, self._settings, method_options)

    def _remote(self, args=None, kwargs=None, **method_options):
        return self.options(**method_options).remote(*(args or ()), **(kwargs or {}))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph (ray_engine.dag) that stands for this call; a tuple of nodes if it returns several."""
        from ray_engine.dag.class_node import bind_method

        num_returns = self._options.get("num_returns") or self._method.num_returns
        return bind_method(self._handle(), self._method.name, num_returns, args, kwargs, self._options)

    def _handle(self) -> ActorHandle[Any]:
        blob = actor_description.pickled(self._description, self._settings)
        return ActorHandle(self._actor_ref, self._description, self._settings, blob)

    if not TYPE_CHECKING:

        def __call__(self, *args, **kwargs):
            name = self._method.name
            raise TypeError(
                "Actor methods cannot be called directly. Instead of running "
                f"'object.{name}()', try 'object.{name}.remote()'."
            )

    def __reduce__(self):
        return _load_method, (self._handle(), self._method.name)


def _load_method(handle, name):
    return getattr(handle, name)


# ---- said of methods, and inside actors -----------------------------------------------------------------------------


@overload
def method(function: Function, /) -> Function: ...
@overload
def method(
    *,
    num_returns: int | Literal["streaming", "dynamic"] | None = None,
    concurrency_group: str | None = None,
    max_task_retries: int | None = None,
    retry_exceptions: Exceptions | None = None,
    enable_task_events: bool = True,
    tensor_transport: str | None = None,
    _generator_backpressure_num_objects: int | None = None,
) -> Callable[[Function], Function]: ...
def method(*args: Any, **kwargs: Any) -> Any:
    """Decorator that sets options of an actor's method, for all calls of it: @ray.method(num_returns=2).

    - num_returns: how many references a call returns; "streaming" or "dynamic" for a method that yields.
    - concurrency_group: which of the actor's concurrency groups runs it. Every actor has one named "_ray_system", with
      a thread of its own: its calls run while the actor's others block.
    - max_task_retries: how often it is run again after its actor died; -1 without end.
    - retry_exceptions: whether that also goes for exceptions it raises; or a list of those that it goes for.
    - _generator_backpressure_num_objects: a method that yields waits while so many items are unread; -1 never.
    - enable_task_events: accepted without effect.

    Raises AssertionError for an option that does not exist, ValueError for a num_returns that cannot be.
    """
    if len(args) == 1 and callable(args[0]) and not kwargs:
        return args[0]
    assert not args, (
        "The @ray.method decorator must be applied using no arguments or with some of the keywords "
        f"{list(rules.METHOD)}, as in '@ray.method(num_returns=2)'."
    )
    for name in kwargs:
        assert name in rules.METHOD, (
            f"Unexpected keyword argument to @ray.method: '{name}'. "
            f"The supported keyword arguments are {list(rules.METHOD)}"
        )
    if kwargs.get("tensor_transport") is not None:
        raise unavailable.option("tensor_transport", kwargs["tensor_transport"])
    return lambda function: _mark(function, kwargs)


def _mark(function, method_options):
    rules.check_num_returns(method_options.get("num_returns"), is_generator(function))
    marks = {name: mark for mark, name in METHOD_MARKS.items()}
    for name, value in method_options.items():
        if name in marks:
            setattr(function, marks[name], value)
    return function
