"""Counter, Gauge and Histogram: numbers that a program keeps about itself.

The values are kept in the process that records them; snapshot() reads those of the own process. There is no exporter:
a program that wants the numbers of its tasks returns snapshot() from them. Metrics of one kind and name share values.

Thread-safe.
"""

from __future__ import annotations

import bisect
import re
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_lock = threading.Lock()
_all: dict[tuple[str, str], _Values] = {}


class _Values:
    """The values of all metrics of one kind and name in this process, by tags."""

    def __init__(self, metric):
        self.metric = metric
        self.by_tags = {}

    def record(self, value, tags):
        key = tuple(sorted(tags.items()))
        with _lock:
            self.by_tags[key] = self.metric._combine(self.by_tags.get(key), value)


class Metric:
    """What all kinds have in common. `tag_keys`: names of the tags that every record must have a value for.

    Raises ValueError without a name, TypeError for tag keys that are not a tuple of strings.
    """

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None):
        self._name = name
        self._description = description
        self._default_tags: dict[str, str] = {}
        self._tag_keys = tag_keys or ()
        if not isinstance(self._tag_keys, tuple):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(self._tag_keys)}")
        for key in self._tag_keys:
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")
        self._metric = self._shared_values() if _check_name(name) else None

    def _shared_values(self):
        with _lock:
            return _all.setdefault((type(self).__name__, self._name), _Values(self))

    def set_default_tags(self, default_tags: dict[str, str]) -> Self:
        """Tags for records that do not name them. Returns the metric itself.

        Raises ValueError for a tag that is not among the keys, TypeError for a value that is no string.
        """
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
            _check_tag_value(value)
        self._default_tags = default_tags
        return self

    @property
    def info(self) -> dict[str, Any]:
        """What it was made with: name, description, tag_keys, default_tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def _record(self, value, tags):
        if not isinstance(value, (int, float)):
            raise TypeError(f"value must be int or float, got {type(value)}.")
        for tag in (tags or {}).values():
            _check_tag_value(tag)
        tags = {**self._default_tags, **(tags or {})}
        missing = [key for key in self._tag_keys if key not in tags]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        if self._metric is not None:
            self._metric.record(value, tags=tags)

    def __reduce__(self):
        """In another process it starts from nothing."""
        return type(self), (self._name, self._description, self._tag_keys), {"_default_tags": self._default_tags}


class Counter(Metric):
    """A sum that only grows."""

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Adds `value`, which must be above 0. Raises ValueError if it is not, or a tag has no value."""
        if isinstance(value, (int, float)) and value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        self._record(value, tags)

    @staticmethod
    def _combine(old, value):
        return value if old is None else old + value


class Gauge(Metric):
    """The value that was set last."""

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """Sets it; None changes nothing. Raises ValueError if a tag has no value."""
        if value is not None:
            self._record(value, tags)

    @staticmethod
    def _combine(old, value):
        return value


class Histogram(Metric):
    """Counts of observed values between `boundaries` (ascending, above 0), and their sum.

    Raises ValueError without boundaries, or with one that is not above 0.
    """

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: Sequence[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ):
        if not boundaries:
            raise ValueError('Histogram needs boundaries, as in Histogram("name", boundaries=[1.0, 2.0])')
        for index, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(
                    f"Invalid `boundaries` argument at index {index}, {boundaries}. Use positive values for the "
                    "arguments."
                )
        self.boundaries = boundaries
        super().__init__(name, description, tag_keys)

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Adds one observed value. Raises ValueError if a tag has no value."""
        self._record(value, tags)

    def _combine(self, old, value):
        old = old or {"count": 0, "sum": 0.0, "buckets": [0] * (len(self.boundaries) + 1)}
        buckets = list(old["buckets"])
        buckets[bisect.bisect_left(self.boundaries, value)] += 1
        return {"count": old["count"] + 1, "sum": old["sum"] + value, "buckets": buckets}

    @property
    def info(self) -> dict[str, Any]:
        """What it was made with: as of the other kinds, and boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def __reduce__(self):
        make, (name, description, tag_keys), state = super().__reduce__()
        return make, (name, description, self.boundaries, tag_keys), state


def snapshot() -> list[dict[str, Any]]:
    """What this process has recorded: {"kind", "name", "description", "tags", "value"}, one per set of tags.

    The value of a Histogram is {"count", "sum", "buckets"}; bucket i counts values up to boundary i, the last the rest.
    """
    with _lock:
        return [
            {
                "kind": kind,
                "name": name,
                "description": values.metric._description,
                "tags": dict(tags),
                "value": value,
            }
            for (kind, name), values in _all.items()
            for tags, value in values.by_tags.items()
        ]


def _check_name(name: str) -> bool:
    """Whether values are kept under this name; warns if not."""
    if not name:
        raise ValueError("Empty name is not allowed. Please provide a metric name.")
    if not _NAME.fullmatch(name):
        warnings.warn(
            f"Invalid metric name: {name}. Its values are not kept. A name has letters, digits, _ and :, and does not "
            "begin with a digit.",
            UserWarning,
            stacklevel=4,
        )
        return False
    if ":" in name:
        warnings.warn(f"Metric name {name} contains a ':', which will be an error.", FutureWarning, stacklevel=4)
    return True


def _check_tag_value(value):
    if not isinstance(value, str):
        raise TypeError(f"Tag values must be str, got {type(value)}.")


__all__ = ["Counter", "Gauge", "Histogram", "snapshot"]
