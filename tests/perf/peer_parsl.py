"""The lines of the microbenchmark under Parsl. Tuned: the HighThroughputExecutor with two workers on this machine
and tasks fetched ahead, no strategy that starts or ends blocks, no memoization, no retries, no usage tracking.
Parsl has no actors."""

import sys
import tempfile
from concurrent.futures import as_completed

import parsl
from lines import Lines
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider


@parsl.python_app(cache=False)
def small_value():
    return b"ok"


def get(futures):
    return [future.result() for future in futures]


def main():
    lines = Lines(*sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        executor = HighThroughputExecutor(
            label="two_workers",
            max_workers_per_node=2,
            cores_per_worker=1,
            prefetch_capacity=100,
            address="127.0.0.1",
            encrypted=False,
            provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
        )
        config = Config(executors=[executor], strategy="none", run_dir=folder, initialize_logging=False)
        with parsl.load(config):
            lines.tasks(small_value, get, as_completed)
    lines.print()


if __name__ == "__main__":
    main()
