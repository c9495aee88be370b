"""How long it takes to start: under mpirun above what mpirun itself takes, and alone in a Python process.

Peer: ray, alone.
"""

import pathlib
import time

import peers
import programs
import report

RANKS = 4
WORKLOAD = pathlib.Path(__file__).parent / "start_workload.py"


def mpirun_first_result_s():
    """From mpirun to the first task's result, as printed by the driver and read here."""
    start = time.perf_counter()
    with programs.Program(programs.mpirun(RANKS, "ray-engine", WORKLOAD, "ray_engine")) as program:
        program.result()
        return time.perf_counter() - start


def solo_first_task_s(peer):
    return programs.result([peers.python_of(peer), WORKLOAD, peer], peer)["solo_first_task_s"]


def mpirun_rows(rounds):
    # The first warms up.
    pairs = [(mpirun_first_result_s(), programs.bare_mpirun_s(RANKS)) for _ in range(rounds + 1)][1:]
    ours, bare = zip(*pairs, strict=True)
    above = [first_result - launch for first_result, launch in pairs]
    return [
        report.row("mpirun4_first_result_s", "s", "lower", {"ray_engine": ours, "limit": bare}),
        report.row("mpirun4_over_bare_s", "s", "lower", {"ray_engine": above}, bar=0.35),
    ]


def solo_rows(rounds, peers):
    columns = {peer: [] for peer in peers}
    for _ in range(rounds + 1):
        for peer in peers:
            columns[peer].append(solo_first_task_s(peer))
    columns = {peer: figures[1:] for peer, figures in columns.items()}
    return [report.row("solo_first_task_s", "s", "lower", columns, bar=0.15)]


def main():
    args = report.parse(__doc__, ["ray"], rounds=9)
    only = args.only.split(",") if args.only else ["mpirun4_over_bare_s", "solo_first_task_s"]
    rows = mpirun_rows(args.rounds) if "mpirun4_over_bare_s" in only else []
    rows += solo_rows(args.rounds, ["ray_engine", *args.against]) if "solo_first_task_s" in only else []
    report.finish(rows, args)


main()
