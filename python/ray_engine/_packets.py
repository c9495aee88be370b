"""Control packets in Python: the encoding of engine/wire/control.h, for the forkserver.

A packet is a 16-bit type and the message's fields: numbers as they lie in memory (little endian), strings and lists
with a 32-bit length. Only what the forkserver hears and says is here; nothing is imported but struct.
"""

import struct

# ControlType
ENGINE_UP, INTRODUCE, DRIVER_EXITED, HELLO, WELCOME, REFUSED = range(1, 7)
FORK, FORKED, EXITED, OUTPUT, KILL, FLUSH, FLUSHED = range(7, 14)

JOB_ID_BYTES = 4
MAX_BYTES = 1 << 20  # of one packet


class Reader:
    """Takes fields from the front of a packet. Raises ValueError where it is too short."""

    def __init__(self, packet: bytes):
        self._packet = packet
        self._at = 0

    def number(self, code: str) -> int:
        return struct.unpack("<" + code, self.raw(struct.calcsize("<" + code)))[0]

    def raw(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._packet):
            raise ValueError("a control packet is too short")
        taken = self._packet[self._at : end]
        self._at = end
        return taken

    def numbers(self, code: str) -> list:
        return [self.number(code) for _ in range(self.number("I"))]

    def blob(self) -> bytes:
        return self.raw(self.number("I"))

    def text(self) -> str:
        return self.blob().decode(errors="surrogateescape")


class Fork:
    """engine -> forkserver: fork a worker."""

    def __init__(self, reader: Reader):
        self.serial = reader.number("I")
        self.job = reader.raw(JOB_ID_BYTES)
        self.name = reader.text()
        self.environment = [(reader.text(), reader.text()) for _ in range(reader.number("I"))]
        self.node_environment = [(reader.text(), reader.text()) for _ in range(reader.number("I"))]
        self.units = {reader.text(): reader.numbers("I") for _ in range(reader.number("I"))}
        self.job_config = reader.blob()


class Kill:
    """engine -> forkserver: send a worker a signal."""

    def __init__(self, reader: Reader):
        self.serial = reader.number("I")
        self.signal = reader.number("i")


class Flush:
    """engine -> forkserver: pass on all that workers have written, then answer flushed()."""

    def __init__(self, reader: Reader):
        self.token = reader.number("Q")


def decode(packet: bytes):
    """A Fork, a Kill or a Flush; None for what is not for the forkserver."""
    reader = Reader(packet)
    kind = {FORK: Fork, KILL: Kill, FLUSH: Flush}.get(reader.number("H"))
    return kind and kind(reader)


def forked(serial: int, pid: int, error: str = "") -> bytes:
    text = error.encode(errors="replace")
    return struct.pack("<HIII", FORKED, serial, pid, len(text)) + text


def exited(serial: int, pid: int, status: int) -> bytes:
    """`status` is what wait() gave."""
    return struct.pack("<HIIi", EXITED, serial, pid, status)


def output(serial: int, pid: int, is_stderr: bool, text: bytes) -> bytes:
    return struct.pack("<HII?I", OUTPUT, serial, pid, is_stderr, len(text)) + text


def flushed(token: int) -> bytes:
    return struct.pack("<HQ", FLUSHED, token)
