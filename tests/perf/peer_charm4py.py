"""The lines of the microbenchmark under Charm4py, on two processing elements: the program is one, actors are chares
on the other. A call with `ret=True` returns a future; tasks are those of the pool."""

import sys

from charm4py import Chare, charm, coro
from lines import Lines

CALLS = 5000


class Actor(Chare):
    def small_value(self):
        return b"ok"


class Client(Chare):
    @coro
    def small_value_batch(self, servers, n):
        get([server.small_value(ret=True) for server in servers for _ in range(n)])


def small_value():
    return b"ok"


def get(futures):
    return [future.get() for future in futures]


def fan(lines, n, suffix):
    """Calls of one chare, and of four, to n others."""
    one, several = f"1_n_actor_calls_async{suffix}", f"n_n_actor_calls_async{suffix}"
    if not lines.is_wanted(one, several):
        return
    servers = [Chare(Actor, onPE=1) for _ in range(n)]
    clients = [Chare(Client, onPE=0) for _ in range(4)]
    lines.time(one, lambda: clients[0].small_value_batch(servers, CALLS, ret=True).get(), CALLS * n)
    lines.time(
        several,
        lambda: get([client.small_value_batch(servers, CALLS // n, ret=True) for client in clients]),
        4 * (CALLS // n) * n,
    )


def actors(lines):
    actor = Chare(Actor, onPE=1)
    lines.actor_calls(lambda: actor.small_value(ret=True), get)
    fan(lines, 1, "")
    fan(lines, 32, "_n32")


def tasks(lines):
    lines.tasks(lambda: charm.pool.Task(small_value, (), ret=True), get)


def main(_):
    only, part = sys.argv[1:]
    lines = Lines(only)
    {"actors": actors, "tasks": tasks}[part](lines)
    lines.print()
    charm.exit()


charm.start(main)
