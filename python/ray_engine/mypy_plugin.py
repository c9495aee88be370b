"""A plugin for mypy, which by itself lets class decorators change nothing. In pyproject.toml:

    [tool.mypy]
    plugins = ["ray_engine.mypy_plugin"]

With it a class under @ray.remote has remote(), options() and bind(), whose arguments are those of __init__, and a
handle has the methods of its class: `account.deposit.remote(5)` is an ObjectRef[int] if deposit() returns an int, and a
method that does not exist is an error. What comes back of coroutines, of methods that yield and of those with
@ray.method(num_returns=...) is known too. In place of any argument a reference to it may be given, by name as well.

Nothing here runs in a program.
"""

from collections.abc import Callable

from mypy.errorcodes import ATTR_DEFINED
from mypy.expandtype import expand_type_by_instance
from mypy.nodes import (
    ARG_STAR,
    ARG_STAR2,
    CallExpr,
    Decorator,
    Expression,
    FuncBase,
    FuncDef,
    IntExpr,
    RefExpr,
    StrExpr,
    TypeInfo,
)
from mypy.plugin import AttributeContext, ClassDefContext, MethodSigContext, Plugin
from mypy.plugins.common import add_attribute_to_class
from mypy.typeops import function_type
from mypy.types import (
    AnyType,
    CallableType,
    FunctionLike,
    Instance,
    NoneType,
    Parameters,
    Type,
    TypeOfAny,
    UnionType,
    get_proper_type,
)

_REMOTE = "ray_engine._private.api.remote"
_METHOD = "ray_engine.actor.method"
_HANDLE = "ray_engine.actor.ActorHandle"
_ACTOR_CLASSES = ("ray_engine.actor.ActorClass", "ray_engine.actor._ActorClassWithOptions")
_CALLS = ("ray_engine._private.call_types.Remote", "ray_engine._private.call_types.RemoteReturning")
_OF_EVERY_ACTOR = ("__ray_ready__", "__ray_call__", "__ray_terminate__")

Named = Callable[[str, list[Type]], Instance]  # the type of that full name


def plugin(version: str) -> type[Plugin]:
    """What mypy asks for."""
    return RayPlugin


class RayPlugin(Plugin):
    def get_class_decorator_hook_2(self, fullname: str) -> Callable[[ClassDefContext], bool] | None:
        return (lambda context: _make_actor_class(context, self._named)) if fullname == _REMOTE else None

    def get_method_signature_hook(self, fullname: str) -> Callable[[MethodSigContext], FunctionLike] | None:
        kind, _, name = fullname.rpartition(".")
        if name == "remote" and kind in _ACTOR_CLASSES:
            return lambda context: _creation(context, self._named)
        if name == "__call__" and kind in _CALLS:
            return lambda context: _call(context, self._named)
        return None

    def get_attribute_hook(self, fullname: str) -> Callable[[AttributeContext], Type] | None:
        kind, _, name = fullname.rpartition(".")
        return (lambda context: _method_of_handle(context, name, self._named)) if kind == _HANDLE else None

    def _named(self, fullname: str, args: list[Type]) -> Instance:
        found = self.lookup_fully_qualified(fullname)
        assert found is not None and isinstance(found.node, TypeInfo), fullname
        return Instance(found.node, args)


# ---- classes --------------------------------------------------------------------------------------------------------


def _make_actor_class(context: ClassDefContext, named: Named) -> bool:
    """Gives the decorated class what an ActorClass has."""
    info = context.cls.info
    actor = Instance(info, [AnyType(TypeOfAny.special_form) for _ in info.type_vars])
    as_actor_class = named(_ACTOR_CLASSES[0], [actor])
    for name in ("remote", "options", "bind"):
        method = as_actor_class.type.get_method(name)
        if not isinstance(method, FuncDef) or not isinstance(method.type, CallableType):
            return False  # not analysed yet
        signature = _bound(method.type, as_actor_class)
        if name == "remote":
            signature = _constructor(signature, actor, named)
        add_attribute_to_class(context.api, context.cls, name, signature, is_classvar=True)
    return True


def _creation(context: MethodSigContext, named: Named) -> FunctionLike:
    """ActorClass[T].remote() takes what T's __init__ takes."""
    owner = get_proper_type(context.type)
    actor = get_proper_type(owner.args[0]) if isinstance(owner, Instance) and owner.args else None
    if not isinstance(actor, Instance):
        return context.default_signature
    return _constructor(context.default_signature, actor, named)


def _constructor(signature: CallableType, actor: Instance, named: Named) -> CallableType:
    """`signature` with the arguments of the actor's __init__."""
    if actor.type.fallback_to_any:
        return signature
    init = _function(actor.type, "__init__", named("builtins.function", []))
    return signature if init is None else _with_arguments_of(_bound(init, actor), signature, named)


def _with_arguments_of(call: CallableType, result: CallableType, named: Named) -> CallableType:
    return result.copy_modified(
        arg_types=[_or_reference(kind, named) for kind in call.arg_types],
        arg_kinds=call.arg_kinds,
        arg_names=call.arg_names,
        variables=call.variables,
    )


def _or_reference(argument: Type, named: Named) -> Type:
    return UnionType.make_union([argument, named("ray_engine._core.ObjectRef", [argument])])


# ---- calls ----------------------------------------------------------------------------------------------------------


def _call(context: MethodSigContext, named: Named) -> FunctionLike:
    """A call as the function is called. (Those by place alone take references anyway.)"""
    signature = context.default_signature
    if signature.arg_names and all(name is None for name in signature.arg_names):
        return signature
    return _with_arguments_of(signature, signature, named)


# ---- methods --------------------------------------------------------------------------------------------------------


def _method_of_handle(context: AttributeContext, name: str, named: Named) -> Type:
    """The ActorMethod that a handle has under this name."""
    handle = get_proper_type(context.type)
    actor = get_proper_type(handle.args[0]) if isinstance(handle, Instance) and handle.args else None
    if not isinstance(handle, Instance) or not isinstance(actor, Instance) or actor.type.fallback_to_any:
        return context.default_attr_type
    if name in handle.type.names or name in _OF_EVERY_ACTOR:
        return context.default_attr_type
    call = _function(actor.type, name, named("builtins.function", []))
    if call is None:
        message = f'The actor class "{actor.type.name}" has no method "{name}"'
        context.api.fail(message, context.context, code=ATTR_DEFINED)
        return AnyType(TypeOfAny.from_error)
    call = _bound(call, actor)
    taken = Parameters(call.arg_types, call.arg_kinds, call.arg_names)
    given = _given_num_returns(actor.type, name)
    if given is None:
        return named("ray_engine.actor.ActorMethod", [taken, _awaited(call.ret_type)])
    return named("ray_engine._private.call_types.MethodReturning", [taken, _returned(given, named)])


def _function(info: TypeInfo, name: str, fallback: Instance) -> CallableType | None:
    """The type of a function in the body of the class or one it is derived from."""
    node = info.get(name)
    function = node.node if node is not None else None
    if isinstance(function, Decorator):
        decorated = get_proper_type(function.var.type)
        if isinstance(decorated, CallableType):
            return decorated
        function = function.func
    if not isinstance(function, FuncBase):
        return None
    found = function_type(function, fallback)
    return found if isinstance(found, CallableType) else None


def _bound(function: CallableType, owner: Instance) -> CallableType:
    """Without `self`, and with the types that the owner has for the variables of its class."""
    bound = expand_type_by_instance(function, owner)
    if not bound.arg_types or bound.arg_kinds[0] in (ARG_STAR, ARG_STAR2):
        return bound
    return bound.copy_modified(
        arg_types=bound.arg_types[1:], arg_kinds=bound.arg_kinds[1:], arg_names=bound.arg_names[1:]
    )


def _awaited(result: Type) -> Type:
    """What a coroutine returns; other types as they are."""
    proper = get_proper_type(result)
    if isinstance(proper, Instance) and proper.type.fullname == "typing.Coroutine":
        return proper.args[2]
    return result


# ---- num_returns ----------------------------------------------------------------------------------------------------


def _given_num_returns(info: TypeInfo, name: str) -> Expression | None:
    """What @ray.method(num_returns=...) says, if it does."""
    node = info.get(name)
    if node is None or not isinstance(node.node, Decorator):
        return None
    for decorator in node.node.original_decorators:
        if isinstance(decorator, CallExpr) and _is_method_decorator(decorator):
            return dict(zip(decorator.arg_names, decorator.args, strict=True)).get("num_returns")
    return None


def _is_method_decorator(call: CallExpr) -> bool:
    return isinstance(call.callee, RefExpr) and call.callee.fullname == _METHOD


def _returned(num_returns: Expression, named: Named) -> Type:
    unknown = AnyType(TypeOfAny.special_form)
    ref = named("ray_engine._core.ObjectRef", [unknown])
    if isinstance(num_returns, IntExpr):
        if num_returns.value == 0:
            return NoneType()
        return ref if num_returns.value == 1 else named("builtins.list", [ref])
    if isinstance(num_returns, StrExpr) and num_returns.value == "streaming":
        return named("ray_engine._core.ObjectRefGenerator", [unknown])
    return unknown
