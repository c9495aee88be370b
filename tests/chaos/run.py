"""Chaos: program.py over several nodes while workers and nodes are killed and the disk of one of them fills up; the
results must be those without faults.

    run.py [--minutes M] [--seed N] [--nodes N] [--object-bytes N] [--giant-bytes N] [--workers-per-second R]
           [--nodes-per-minute R] [--disks-per-minute R]

The seed, which is printed, decides what the program computes and the sequence of strikes; when they hit is up to the
machine. Exit code 1: a wrong result, an error, a round that did not end within LIMIT_S (what waits is printed), or
something left behind.
"""

import argparse
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ray_engine.cluster_utils import Cluster  # noqa: E402

from tests.chaos.disk import SmallDisk  # noqa: E402
from tests.chaos.strikes import Strikes  # noqa: E402
from tests.python import leaks  # noqa: E402

PROGRAM = Path(__file__).parent / "program.py"
LIMIT_S = 120  # of a round; one takes seconds
ROUNDS = 4  # different ones; they come again and again


class Program:
    """A running program.py, and the results that it prints."""

    def __init__(self, address, folder, options):
        numbers = [options.seed, ROUNDS, options.object_bytes, options.giant_bytes]
        words = [sys.executable, PROGRAM, address, folder, *map(str, numbers)]
        self.address = address
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, bufsize=0)  # for select

    def next_result(self):
        """{"round": number, "result": by part}; None when it has ended. AssertionError if it takes for ever."""
        if not select.select([self.process.stdout], [], [], LIMIT_S)[0]:
            self.show_what_waits()
            raise AssertionError(f"no round ended within {LIMIT_S} s")
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def show_what_waits(self):
        self.process.send_signal(signal.SIGUSR1)
        for words in (["status"], ["list", "tasks"], ["list", "actors"], ["list", "placement-groups"], ["memory"]):
            print(f"--- {' '.join(words)}", file=sys.stderr, flush=True)
            subprocess.run(
                ["ray-engine", *words], env={**os.environ, "RAY_ADDRESS": self.address}, stdout=sys.stderr, timeout=30
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def rounds(cluster, options):
    """The results of ROUNDS rounds, by part, as they come; each time the program runs anew."""
    with tempfile.TemporaryDirectory() as folder:
        with Program(cluster.address, folder, options) as program:
            for number in range(ROUNDS):
                found = program.next_result()
                assert found is not None, f"the program ended with code {program.process.wait()} in round {number}"
                yield found["result"]
            assert program.process.wait(LIMIT_S) == 0


def struck(cluster, node_args, disk, options, expected):
    """Rounds with faults until the time is over."""
    deadline, count = time.monotonic() + 60 * options.minutes, 0
    rates = options.workers_per_second, options.nodes_per_minute / 60, options.disks_per_minute / 60
    with Strikes(cluster, node_args, disk, options.seed, *rates) as strikes:
        while time.monotonic() < deadline:
            for number, found in enumerate(rounds(cluster, options)):
                right = expected[number]
                wrong = {part: (found[part], right[part]) for part in right if found[part] != right[part]}
                assert not wrong, f"round {number}: found and expected: {wrong}"
                count += 1
                strikes.begin_round()
    print(f"chaos: {count} rounds were right under {strikes.report()}", file=sys.stderr)


def chaos(options):
    print(f"chaos: seed {options.seed}", file=sys.stderr, flush=True)
    machine = leaks.Machine(leaks.new_mark())
    store = max(64 << 20, 6 * options.object_bytes, 13 * options.giant_bytes // 4)  # three giants at a time
    args = {"num_cpus": 1, "object_store_memory": store}
    cluster = Cluster(initialize_head=True, head_node_args=args)
    with SmallDisk(12 * options.giant_bytes) as disk:  # enough for a node that runs all giants
        try:
            node_args = {cluster.add_node(**args, **disk.args): {**args, **disk.args}}
            for _ in range(options.nodes - 2):
                node_args[cluster.add_node(**args)] = args
            struck(cluster, node_args, disk, options, list(rounds(cluster, options)))
        finally:
            cluster.shutdown()
    machine.check()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 10**6))
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--object-bytes", type=int, default=8 << 20)
    parser.add_argument("--giant-bytes", type=int, default=100 << 20)
    parser.add_argument("--workers-per-second", type=float, default=2)
    parser.add_argument("--nodes-per-minute", type=float, default=6)
    parser.add_argument("--disks-per-minute", type=float, default=6)
    chaos(parser.parse_args())


if __name__ == "__main__":
    main()
