"""The lines of the microbenchmark under Dragon, by its start method of multiprocessing: tasks and an actor with its
Pool (pool_lines.py); the actor's calls again as pickles through two of its queues, of which the better figure
counts."""

import multiprocessing
import sys

import dragon  # noqa: F401 (adds the start method)
import pool_lines
from lines import Lines

OUTSTANDING = 2000  # that a queue has room for; its default of 100 would block both ends


def serve(calls, replies):
    actor = pool_lines.Actor()
    while (call := calls.get()) is not None:
        method, args = call
        replies.put(getattr(actor, method)(*args))


def by_queues(lines):
    calls, replies = multiprocessing.Queue(OUTSTANDING), multiprocessing.Queue(OUTSTANDING)
    process = multiprocessing.Process(target=serve, args=(calls, replies))
    process.start()
    lines.actor_calls(lambda: calls.put(("small_value", ())), lambda sent: [replies.get() for _ in sent])
    calls.put(None)
    process.join()


def main():
    multiprocessing.set_start_method("dragon")
    pool, queues = Lines(*sys.argv[1:]), Lines(*sys.argv[1:])
    by_queues(queues)
    pool_lines.run(pool, multiprocessing)
    pool.take_better(queues)
    pool.print()


if __name__ == "__main__":
    main()
