"""Strikes: a thread that kills workers and nodes of a cluster and fills a disk, as Poisson processes.

A seed decides their order.
"""

import random
import sys
import threading
import time

import psutil

HALF_S = 15  # of a round, after which strikes come half as often
FULL_S = 8  # for which a disk stays full


def family(process, recursive=True):
    try:
        return psutil.Process(process.pid).children(recursive)
    except psutil.NoSuchProcess:
        return []


def has_name(process, name):
    try:
        return any(name in word for word in process.cmdline()[:1])
    except psutil.Error:
        return False


class Strikes:
    """Strikes until it is stopped. Nodes that were struck are replaced by new ones."""

    def __init__(self, cluster, node_args, disk, seed, worker_rate, node_rate, disk_rate):
        """`node_args`: of each node of the cluster. Rates are per second."""
        self.cluster, self.node_args, self.disk = cluster, node_args, disk
        self.random = random.Random(f"strikes {seed}")
        self.rates = {
            self.strike_worker: worker_rate,
            self.strike_engine: node_rate / 2,
            self.strike_node: node_rate / 2,
            self.strike_disk: disk_rate,
        }
        self.begin_round()
        self.counts = dict.fromkeys(self.rates, 0)
        self.error = None  # that ended it
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, name="strikes")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()
        if self.error:
            raise self.error

    def begin_round(self):
        """Full speed. From then on strikes become rarer, so that a round ends also where the machine is slow."""
        self.round_began = time.monotonic()

    def pause(self):
        slowed = 2 ** ((time.monotonic() - self.round_began) / HALF_S)
        return self.random.expovariate(sum(self.rates.values())) * slowed

    def run(self):
        try:
            while not self.stopping.wait(self.pause()):
                (strike,) = self.random.choices(list(self.rates), list(self.rates.values()))
                self.counts[strike] += strike()
        except Exception as error:
            self.error = error

    def report(self):
        return ", ".join(f"{strike.__name__} {count}" for strike, count in self.counts.items())

    def strike_worker(self):
        """A random worker of a random node, whatever it does: also one that has only just begun."""
        parts = family(self.random.choice(self.cluster.list_all_nodes()), recursive=False)
        workers = [child for part in parts if not has_name(part, "ray-engine-node") for child in family(part)]
        return self.kill(self.random.choice(workers)) if workers else False

    def strike_engine(self):
        """The engine alone; the supervisor ends the rest of the node."""
        node = self.random.choice(self.members())
        engines = [child for child in family(node) if has_name(child, "ray-engine-node")]
        return self.replace(node, bool(engines) and self.kill(engines[0]))

    def strike_node(self):
        """The supervisor; everything else of the node ends by itself."""
        node = self.random.choice(self.members())
        return self.replace(node, self.kill(psutil.Process(node.pid)))

    def strike_disk(self):
        """It is full for a while."""
        struck = self.disk.fill()
        self.stopping.wait(FULL_S)
        self.disk.clear()
        return struck

    def members(self):
        return sorted(self.cluster.worker_nodes, key=lambda node: node.pid)

    def kill(self, process):
        try:
            print(f"{time.strftime('%T')} kills {process.pid} {process.name()}", file=sys.stderr, flush=True)
            process.kill()
            return True
        except psutil.NoSuchProcess:
            return False

    def replace(self, node, struck):
        self.cluster.remove_node(node)
        args = self.node_args.pop(node)
        self.node_args[self.cluster.add_node(**args)] = args
        return struck
