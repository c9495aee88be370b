"""The lines of the microbenchmark under Dask (distributed). Tuned: two worker processes of one thread, no
dashboard, no profiler, no limit of memory (so nothing spills), `pure=False` where a call must not be taken for the
last one, `map` where there are 1,000."""

import sys

import dask
from distributed import Client, LocalCluster, as_completed
from lines import Lines

TIMEOUT_S = 60


def small_value(_=None):
    return b"ok"


class Actor:
    def small_value(self):
        return b"ok"


def objects(lines, client):
    value = client.scatter(0)
    lines.time("single_client_get_calls_Plasma_Store", value.result)
    lines.time("single_client_put_calls_Plasma_Store", lambda: client.scatter(0, hash=False))
    if lines.is_wanted("single_client_put_gigabytes"):
        zeros = bytes(100 << 20)
        lines.time("single_client_put_gigabytes", lambda: client.scatter(zeros, hash=False), 0.1)


def main():
    lines = Lines(*sys.argv[1:])
    dask.config.set({"distributed.worker.profile.enabled": False})
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, memory_limit=0, dashboard_address=None) as cluster,
        Client(cluster, timeout=TIMEOUT_S) as client,
    ):
        objects(lines, client)
        lines.tasks(
            lambda: client.submit(small_value, pure=False),
            client.gather,
            as_completed,
            lambda: client.map(small_value, range(1000), pure=False),
        )
        actor = client.submit(Actor, actor=True).result()
        lines.actor_calls(actor.small_value, lambda futures: [future.result() for future in futures])
    lines.print()


if __name__ == "__main__":
    main()
