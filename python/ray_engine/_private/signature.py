"""Signatures: are the arguments of a call acceptable, said before anything is sent.

A positional call whose number of arguments lies in [min_args, max_args] needs no check, so the callers in C++ compare
two numbers; check() is for all others and raises TypeError as Python would.

Immutable value types; Parameters are small and pickle without the defaults themselves.
"""

import inspect

_UNLIMITED = 2**31 - 1
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """`parameters`: a tuple of (name, kind, has a default), or None if anything goes."""

    __slots__ = ("parameters", "min_args", "max_args", "_bound")

    def __init__(self, parameters):
        self.parameters = parameters
        limits: tuple[int, int] = (0, _UNLIMITED) if parameters is None else _limits(parameters)
        self.min_args, self.max_args = limits
        self._bound: inspect.Signature | None = None

    @classmethod
    def of(cls, function, skip_first=False):
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except ValueError:  # a built-in function that does not tell
            return cls(None)
        if skip_first:
            parameters = _without_self(parameters)
        return cls(tuple((p.name, int(p.kind), p.default is not p.empty) for p in parameters))

    def check(self, args, kwargs):
        """Raises TypeError if the function cannot be called with these."""
        if self.parameters is None:
            return
        if self._bound is None:
            self._bound = inspect.Signature([_parameter(*p) for p in self.parameters])
        try:
            self._bound.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(str(error)) from None

    def check_call(self, args, kwargs):
        """check(), but cheap where nothing can be wrong."""
        if kwargs or not self.min_args <= len(args) <= self.max_args:
            self.check(args, kwargs)

    def options(self) -> dict:
        """What the callers in C++ want to know."""
        return {"min_args": self.min_args, "max_args": self.max_args, "check": self.check}

    def __reduce__(self):
        return Signature, (self.parameters,)


def _limits(parameters):
    kinds = [kind for _, kind, _ in parameters]
    if any(kind == inspect.Parameter.KEYWORD_ONLY and not default for _, kind, default in parameters):
        return 1, 0  # no positional call is right
    required = sum(kind in _POSITIONAL and not default for _, kind, default in parameters)
    unlimited = inspect.Parameter.VAR_POSITIONAL in kinds
    return required, _UNLIMITED if unlimited else sum(kind in _POSITIONAL for kind in kinds)


def _without_self(parameters):
    takes_any = parameters and parameters[0].kind == inspect.Parameter.VAR_POSITIONAL
    return parameters if takes_any else parameters[1:]  # one without any cannot be called, but may stand in a class


def _parameter(name, kind, has_default):
    empty = inspect.Parameter.empty
    return inspect.Parameter(name, inspect._ParameterKind(kind), default=None if has_default else empty)


def is_generator(function) -> bool:
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
