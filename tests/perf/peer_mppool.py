"""The lines of the microbenchmark under multiprocessing.Pool (pool_lines.py), workers being forked. A put is a new
block of shared memory, written once, closed and unlinked."""

import multiprocessing
import multiprocessing.shared_memory
import sys

import pool_lines
from lines import Lines


def put(value):
    block = multiprocessing.shared_memory.SharedMemory(create=True, size=len(value))
    block.buf[: len(value)] = value
    block.close()
    block.unlink()


def main():
    lines = Lines(*sys.argv[1:])
    if lines.is_wanted("single_client_put_gigabytes"):
        zeros = bytes(800 << 20)
        lines.time("single_client_put_gigabytes", lambda: put(zeros), 0.8)
    pool_lines.run(lines, multiprocessing.get_context("fork"))
    lines.print()


if __name__ == "__main__":
    main()
