"""Errors that are both RayTaskError and the class of the exception that the task raised.

Attributes that the user's exception has are found on the cause, so `except MyError as error: error.code` works
whatever its constructor wants.
"""

import sys


class _DualBehaviour:
    """What such an error does itself; the rest comes from the cause."""

    def __init__(self, cause):
        self.cause = cause
        self._dual_args = (cause,)

    # A user's class may make `args` a read-only property, so it is kept apart.
    @property
    def args(self):
        return self._dual_args

    @args.setter
    def args(self, value):
        self._dual_args = value

    def __reduce__(self):
        return make, (self._base, self.cause, str(self))

    def __getattr__(self, name):
        if name in ("cause", "_dual_args"):
            raise AttributeError(name)
        return getattr(self.cause, name)


def make(base, cause, text):
    """The error of class `base` for `cause` that shows as `text`.

    Raises what the class of the cause raises if it cannot be derived from.
    """
    cause_class = type(cause)
    members = {"__str__": lambda self: text, "__module__": base.__module__, "_base": base}
    if sys.version_info >= (3, 11) and issubclass(cause_class, BaseExceptionGroup):  # noqa: F821
        members["__new__"] = lambda cls, cause: cause_class.__new__(cls, cause.message, cause.exceptions)
    elif issubclass(cause_class, OSError):  # keeps errno, strerror and filename
        members["__new__"] = lambda cls, cause: cause_class.__new__(cls, *cause.__reduce__()[1])
    dual_class = type(f"{base.__name__}({cause_class.__name__})", (_DualBehaviour, base, cause_class), members)
    return dual_class(cause)
