"""Interrupts: Ctrl-C (SIGINT) put off while something is done that must not stop half-way.

For the main thread, where Python runs the handlers of signals; elsewhere nothing is interrupted.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from types import TracebackType
from typing import Any


class DeferSigint(contextlib.AbstractContextManager["DeferSigint"]):
    """`with DeferSigint():` a SIGINT that comes inside is delivered once, at the end, however often it came.

    A handler that is set for it inside is the one that is called then, and stays. Only in the main thread; see
    create_if_main_thread(). What is done inside should not take longer than a user who pressed Ctrl-C would wait.
    """

    def __init__(self) -> None:
        self._came = False
        self._handler: Any = None  # of SIGINT, from the end on
        self._set_handler = signal.signal

    @classmethod
    def create_if_main_thread(cls) -> contextlib.AbstractContextManager[DeferSigint | None]:
        """One in the main thread; in others, which are not interrupted, something that does nothing.

        So where the handler is not Python's: it could not be put back.
        """
        is_main = threading.current_thread() is threading.main_thread()
        return cls() if is_main and signal.getsignal(signal.SIGINT) is not None else contextlib.nullcontext()

    def __enter__(self) -> DeferSigint:
        self._set_handler = signal.signal
        self._handler = self._set_handler(signal.SIGINT, self._note)
        signal.signal = self._signal  # type: ignore[assignment]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal = self._set_handler
        self._set_handler(signal.SIGINT, self._handler)
        if self._came:
            self._came = False
            signal.raise_signal(signal.SIGINT)

    def _note(self, *_: object) -> None:
        self._came = True

    def _signal(self, number: int, handler: Any) -> Any:
        """In the place of signal.signal: a handler for SIGINT waits for the end."""
        if number != signal.SIGINT or threading.current_thread() is not threading.main_thread():
            return self._set_handler(number, handler)
        before, self._handler = self._handler, handler
        return before
