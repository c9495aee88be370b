"""Control packets in Python against packets.txt, which packets_test.cc holds against the C++ encoder."""

from pathlib import Path

import pytest
from ray_engine import _packets

EXAMPLES = {name: bytes.fromhex(text) for name, text in map(str.split, (Path(__file__).parent / "packets.txt").open())}


def test_fork_is_read():
    fork = _packets.decode(EXAMPLES["fork"])
    assert isinstance(fork, _packets.Fork)
    assert (fork.serial, fork.job, fork.name) == (7, b"\1\2\3\4", "worker")
    assert fork.environment == [("A", "1"), ("B", "zwei ü")]
    assert fork.node_environment == [("C", "3,5")]
    assert fork.units == {"GPU": [0, 2], "TPU": [1]}
    assert fork.job_config == b"\x80\x05N.\0"


def test_kill_is_read():
    kill = _packets.decode(EXAMPLES["kill"])
    assert isinstance(kill, _packets.Kill)
    assert (kill.serial, kill.signal) == (7, 15)


def test_flush_is_read():
    flush = _packets.decode(EXAMPLES["flush"])
    assert isinstance(flush, _packets.Flush)
    assert flush.token == 77


def test_what_the_forkserver_says():
    assert _packets.flushed(77) == EXAMPLES["flushed"]
    assert _packets.forked(7, 4711) == EXAMPLES["forked"]
    assert _packets.forked(7, 0, "no more processes") == EXAMPLES["not_forked"]
    assert _packets.exited(7, 4711, 9) == EXAMPLES["exited"]
    assert _packets.output(7, 4711, True, b"two\nlines\n") == EXAMPLES["output"]


@pytest.mark.parametrize("name", ["fork", "kill", "flush"])
def test_a_packet_that_is_cut_off_is_an_error(name):
    for size in range(2, len(EXAMPLES[name])):
        with pytest.raises(ValueError):
            _packets.decode(EXAMPLES[name][:size])


def test_other_packets_are_not_for_the_forkserver():
    assert _packets.decode(EXAMPLES["exited"]) is None
