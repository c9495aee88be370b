"""Saying things once."""

import time

_said: dict[str, float] = {}  # key -> when
_disabled = False
_period_s: float | None = None


def log_once(key: str) -> bool:
    """True the first time it is asked with this key (with periodic logging: once per period)."""
    if _disabled:
        return False
    now = time.monotonic()
    if key in _said and (_period_s is None or now - _said[key] < _period_s):
        return False
    _said[key] = now
    return True


def disable_log_once_globally() -> None:
    """From now on log_once() is False, whatever the key."""
    global _disabled
    _disabled = True


def enable_periodic_logging(period_s: float = 60.0) -> None:
    """From now on log_once() is True once per `period_s` seconds and key."""
    global _disabled, _period_s
    _disabled, _period_s = False, period_s
