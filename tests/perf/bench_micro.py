"""Calls per second: tasks, actors, objects.

Peers: ray (in the environment that RAY_BENCH_PYTHON names, with ray installed), limit (two processes in C++ that only
talk over the engine's ring), python_limit (two Python processes that pickle over the same ring).
"""

import pathlib

import programs
import report

HERE = pathlib.Path(__file__).parent
UNITS = {"single_client_tasks_and_get_batch": "batch/s", "single_client_wait_1k_refs": "batch/s"}
LIMITS = {  # metric -> (what bounds it, units per call)
    "single_client_tasks_sync": ("one_by_one", 1),
    "single_client_tasks_async": ("outstanding_1000", 1),
    "single_client_tasks_and_get_batch": ("outstanding_1000", 1 / 1000),
    "1_1_actor_calls_sync": ("one_by_one", 1),
    "1_1_actor_calls_async": ("outstanding_1000", 1),
}
LIMIT_COMMANDS = {"limit": ["bare_ring"], "python_limit": [programs.python_of("python_limit"), HERE / "bare_ring.py"]}


def limits(command, only):
    figures = programs.result(command)
    return {
        metric: units * figures[bound]
        for metric, (bound, units) in LIMITS.items()
        if not only or metric in only.split(",")
    }


def one_round(peer, only):
    if peer in LIMIT_COMMANDS:
        return limits(LIMIT_COMMANDS[peer], only)
    command = [programs.python_of(peer), HERE / "micro_workload.py", peer, only]
    return programs.result(command, peer, limit=600)


def main():
    args = report.parse(__doc__, ["ray", *LIMIT_COMMANDS])
    peers = ["ray_engine", *args.against]
    figures = {}
    for _ in range(args.rounds):
        for peer in peers:  # alternating, so that all see the same machine
            for metric, value in one_round(peer, args.only).items():
                figures.setdefault(metric, {}).setdefault(peer, []).append(value)
    rows = [report.row(metric, UNITS.get(metric, "1/s"), "higher", columns) for metric, columns in figures.items()]
    report.finish(rows, args)


main()
