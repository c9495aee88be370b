"""What an engine costs that has nothing to do, after tasks and an actor have run.

CPU time of all its processes, in percent of one CPU, while the driver sleeps (idle) and while it waits for a method
that sleeps (waiting); threads; sockets. Peer: ray.
"""

import os
import pathlib
import time

import peers
import programs
import psutil
import report

WORKLOAD = pathlib.Path(__file__).parent / "idle_workload.py"
SECONDS, SETTLE = 5, 1.5
UNITS = {"threads_per_worker": "threads", "listening_sockets": "sockets"}
BARS = {"idle_cpu_percent": 1, "waiting_cpu_percent": 1, "listening_sockets": 0}


def engine_processes(program, launcher):
    """Everything that was started below this one, but mpirun."""
    return [psutil.Process(pid) for pid in program.processes() if pid != launcher]


def cpu_seconds(processes):
    """By pid, from the ticks in /proc."""
    times = {process.pid: process.cpu_times() for process in processes}
    return {pid: time.user + time.system for pid, time in times.items()}


def cpu_percent(processes):
    before, start = cpu_seconds(processes), time.perf_counter()
    time.sleep(SECONDS)
    used = sum(cpu_seconds(processes).values()) - sum(before.values())
    return 100 * used / (time.perf_counter() - start)


def listening_sockets(processes):
    """TCP sockets that listen and UDP sockets that are bound; one that two processes hold counts once."""
    addresses = set()
    for process in processes:
        for socket in process.net_connections(kind="inet"):
            if not socket.raddr and socket.status in (psutil.CONN_LISTEN, psutil.CONN_NONE):
                addresses.add((socket.type, socket.laddr))
    return len(addresses)


def measure(command, peer, suffix, launcher=None):
    os.environ["IDLE_SECONDS"] = str(SECONDS + 2 * SETTLE)
    figures = {}
    with programs.Program(command, peer) as program:
        workers = program.result()["workers"]
        time.sleep(SETTLE)
        processes = engine_processes(program, program.process.pid if launcher else None)
        assert set(workers) <= {process.pid for process in processes}, "a worker has ended"
        figures["idle_cpu_percent"] = cpu_percent(processes)
        figures["threads_per_worker"] = max(psutil.Process(worker).num_threads() for worker in workers)
        figures["listening_sockets"] = listening_sockets(processes)
        program.result()
        time.sleep(SETTLE)
        figures["waiting_cpu_percent"] = cpu_percent(processes)
    return {metric + suffix: figure for metric, figure in figures.items()}


def one_round(peer):
    if peer == "ray":
        return measure([peers.python_of(peer), WORKLOAD, peer], peer, "")
    two_nodes = programs.mpirun(2, "ray-engine", "--virtual-nodes", WORKLOAD, peer)
    return {
        **measure(["ray-engine", WORKLOAD, peer], peer, ""),
        **measure(two_nodes, peer, "_2_nodes", launcher="mpirun"),
    }


def main():
    args = report.parse(__doc__, ["ray"])
    columns = {}
    for _ in range(args.rounds):
        for peer in ["ray_engine", *args.against]:
            for metric, figure in one_round(peer).items():
                columns.setdefault(metric, {}).setdefault(peer, []).append(figure)
    rows = [
        report.row(metric, UNITS.get(metric.removesuffix("_2_nodes"), "%"), "lower", figures, BARS.get(metric))
        for metric, figures in columns.items()
        if not args.only or metric in args.only.split(",")
    ]
    report.finish(rows, args)


main()
