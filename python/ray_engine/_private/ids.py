"""Ids: the typed names of jobs, tasks, actors, nodes, ... as Python programs see them.

An id is a fixed-size byte string; all 0xff is nil. Sizes are those of the engine's own ids (engine/base/ids.h). The id
of an object is ObjectRef itself, which lives in the C++ module.

Immutable value types.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class BaseID:
    """Common behaviour; each kind sets its size in bytes.

    Raises TypeError for anything but bytes, ValueError for another number of them.
    """

    __slots__ = ("_binary",)
    _size = 0

    def __init__(self, binary: bytes):
        if not isinstance(binary, bytes):
            raise TypeError(f"Unsupported type: {type(binary)}; an id is made from bytes")
        if len(binary) != self._size:
            raise ValueError(f"ID string needs to have length {self._size}, got {len(binary)}")
        self._binary = binary

    @classmethod
    def from_binary(cls, binary: bytes) -> Self:
        """The id of these bytes."""
        return cls(binary)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """The id that hex() gave."""
        return cls(bytes.fromhex(text))

    @classmethod
    def from_random(cls) -> Self:
        """A random id."""
        return cls(os.urandom(cls._size))

    @classmethod
    def nil(cls) -> Self:
        """The id that stands for none."""
        return cls(b"\xff" * cls._size)

    @classmethod
    def size(cls) -> int:
        """The number of its bytes."""
        return cls._size

    def binary(self) -> bytes:
        """Its bytes."""
        return self._binary

    def hex(self) -> str:
        """Its bytes in hexadecimal digits."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """Whether it stands for none."""
        return self._binary == b"\xff" * self._size

    def __bytes__(self):
        return self._binary

    def __hash__(self):
        return hash(self._binary)

    def __eq__(self, other):
        return type(self) is type(other) and self._binary == other._binary

    def __lt__(self, other):
        if type(self) is not type(other):
            return NotImplemented
        return self._binary < other._binary

    def __repr__(self):
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self):
        return type(self), (self._binary,)


class JobID(BaseID):
    """Of a driver and everything it started. 4 bytes."""

    __slots__ = ()
    _size = 4

    @classmethod
    def from_int(cls, value: int) -> JobID:
        """The id of this number."""
        return cls(value.to_bytes(cls._size, "little"))

    def int(self) -> int:
        """Its number."""
        return int.from_bytes(self._binary, "little")


class ActorID(BaseID):
    """Of an actor: 12 bytes of its own and the job."""

    __slots__ = ()
    _size = 16

    @classmethod
    def of(cls, job_id: JobID) -> ActorID:
        """A new id for an actor of this job."""
        return cls(os.urandom(cls._size - JobID._size) + job_id.binary())

    @property
    def job_id(self) -> JobID:
        """The job it belongs to."""
        return JobID(self._binary[-JobID._size :])


class TaskID(BaseID):
    """Of a task: 8 bytes of its own and the actor (nil but for the job in tasks that are not an actor's)."""

    __slots__ = ()
    _size = 24

    def actor_id(self) -> ActorID:
        """The actor whose method it is; nil but for the job if of none."""
        return ActorID(self._binary[-ActorID._size :])

    def job_id(self) -> JobID:
        """The job it belongs to."""
        return JobID(self._binary[-JobID._size :])


class PlacementGroupID(BaseID):
    """Of a placement group: 14 bytes of its own and the job."""

    __slots__ = ()
    _size = 18


class UniqueID(BaseID):
    """Of anything: 28 bytes."""

    __slots__ = ()
    _size = 28


class NodeID(UniqueID):
    """Of a node."""

    __slots__ = ()


class WorkerID(UniqueID):
    """Of a worker or driver process."""

    __slots__ = ()


class FunctionID(UniqueID):
    """Of the definition of a function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """Of the definition of an actor class."""

    __slots__ = ()


class ClusterID(UniqueID):
    """Of a session."""

    __slots__ = ()
