"""The lines of the microbenchmark under concurrent.futures. Tuned: workers are forked, two for tasks; an actor is a
pool of one process whose initializer makes the object."""

import concurrent.futures
import multiprocessing
import sys

from lines import Lines
from pool_lines import call, make_actor, small_value


def get(futures):
    return [future.result() for future in futures]


def main():
    lines = Lines(*sys.argv[1:])
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as pool:
        lines.tasks(lambda: pool.submit(small_value), get, concurrent.futures.as_completed)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=fork, initializer=make_actor) as pool:
        lines.actor_calls(lambda: pool.submit(call), get)
    lines.print()


if __name__ == "__main__":
    main()
