"""The lines of the microbenchmark under mpi4py. Three ranks: tasks by an MPICommExecutor, rank 0 submitting, the
others working; tuned: with and without back-off while they poll, of which the better figure counts. Two ranks: an
actor as rank 1, which answers pickled calls in a loop of send and recv."""

import sys
from concurrent.futures import as_completed

from lines import Lines
from mpi4py import MPI
from mpi4py.futures import MPICommExecutor

world = MPI.COMM_WORLD
ACTOR, END = 1, None


def small_value():
    return b"ok"


class Actor:
    def small_value(self):
        return b"ok"


def get(futures):
    return [future.result() for future in futures]


def serve():
    actor = Actor()
    while (call := world.recv(source=0)) is not END:
        method, args = call
        world.send(getattr(actor, method)(*args), dest=0)


def tasks(lines, **options):
    with MPICommExecutor(world, root=0, **options) as pool:
        if pool is not None:
            lines.tasks(lambda: pool.submit(small_value), get, as_completed)


def actor_calls(lines):
    if world.rank == ACTOR:
        return serve()
    lines.actor_calls(
        lambda: world.isend(("small_value", ()), dest=ACTOR),
        lambda sent: [world.recv(source=ACTOR) for _ in sent],
    )
    world.send(END, dest=ACTOR)


def main():
    lines = Lines(*sys.argv[1:])
    if world.size == 2:
        actor_calls(lines)
    else:
        without = Lines(*sys.argv[1:])
        tasks(lines)
        tasks(without, backoff=0)
        lines.take_better(without)
    if world.rank == 0:
        lines.print()


if __name__ == "__main__":
    main()
