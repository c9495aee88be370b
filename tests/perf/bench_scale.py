"""How costs grow: of the scheduler alone up to 10,000 nodes and 1,000,000 requests, of the engine up to 32 ranks here.

The scheduler's figures are per second of CPU time of one thread (tests/perf/scale_scheduler.cc). `..._growth` is the
exponent of the cost's growth with the number of nodes, fitted over all sizes (0: none, 1: proportional). Ranks are
virtual nodes of one mpirun; their times are from launch to the first result, less those of a bare mpirun of as many.
"""

import math
import pathlib
import statistics
import time

import programs
import psutil
import report

WORKLOAD = pathlib.Path(__file__).parent / "scale_workload.py"
NODES = [10, 100, 1_000, 10_000]
WAITING = [10, 1_000, 100_000, 1_000_000]
RANKS = [1, 2, 4, 8, 16, 32]
# of what is waiting meanwhile
KINDS = {"leases": 1_000_000, "groups": 10_000, "actors": 10_000}
BAR_DECISIONS, BAR_GROWTH, BAR_MS_PER_RANK, BAR_MB = 1_000_000, 2, 10, 30


def per_s(kind, nodes, waiting):
    return programs.result(["scale_scheduler", kind, nodes, waiting])["per_s"]


def exponent(sizes, costs):
    """b of the power law cost = a * size ** b that fits best."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def slope(sizes, costs):
    return statistics.linear_regression(sizes, costs).slope


def scheduler_rows(kind, rounds):
    name = {"leases": "scheduler_decisions"}.get(kind, kind)
    runs = [[per_s(kind, nodes, KINDS[kind]) for nodes in NODES] for _ in range(rounds)]
    rows = []
    for index, nodes in enumerate(NODES):
        bar = BAR_DECISIONS if (kind, nodes) == ("leases", NODES[-1]) else None
        rates = [run[index] for run in runs]
        rows.append(report.row(f"{name}_{nodes}_nodes", "per s", "higher", {"ray_engine": rates}, bar=bar))
    exponents = [exponent(NODES, [1 / rate for rate in run]) for run in runs]
    rows.append(report.row(f"{name}_growth", "exponent", "lower", {"ray_engine": exponents}))
    if kind == "leases":
        growths = [run[NODES.index(100)] / run[NODES.index(10_000)] for run in runs]
        columns = {"ray_engine": growths}
        rows.append(report.row("cost_growth_100_to_10000_nodes", "times", "lower", columns, bar=BAR_GROWTH))
    return rows


def waiting_rows(rounds):
    runs = [[per_s("leases", 1_000, waiting) for waiting in WAITING] for _ in range(rounds)]
    rows = [
        report.row(
            f"scheduler_decisions_{waiting}_waiting", "per s", "higher", {"ray_engine": [run[i] for run in runs]}
        )
        for i, waiting in enumerate(WAITING)
    ]
    exponents = [exponent(WAITING, [1 / rate for rate in run]) for run in runs]
    rows.append(report.row("decisions_growth_with_waiting", "exponent", "lower", {"ray_engine": exponents}))
    return rows


def resident_mb(process):
    """Of memory that is the process's own or mapped from files: not what it shares with others in segments."""
    with open(f"/proc/{process.pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1024


def engine_run(ranks):
    """(seconds from launch to the first result, MB of the largest engine with its supervisor)"""
    start = time.perf_counter()
    with programs.Program(programs.mpirun(ranks, "ray-engine", "--virtual-nodes", WORKLOAD)) as program:
        program.result()
        seconds = time.perf_counter() - start
        below = psutil.Process(program.process.pid).children(recursive=True)
        engines = [process for process in below if process.name().startswith("ray-engine-node")]
        memory = max(resident_mb(engine) + resident_mb(engine.parent()) for engine in engines)
    return seconds, memory


def rank_rows(rounds):
    above, memory = {ranks: [] for ranks in RANKS}, {ranks: [] for ranks in RANKS}
    for _ in range(rounds):
        for ranks in RANKS:
            seconds, mb = engine_run(ranks)
            above[ranks].append(seconds - programs.bare_mpirun_s(ranks))
            memory[ranks].append(mb)
    rows = []
    for ranks in RANKS:
        rows.append(report.row(f"ranks_{ranks}_over_bare_s", "s", "lower", {"ray_engine": above[ranks]}))
        rows.append(report.row(f"engine_mb_of_{ranks}", "MB", "lower", {"ray_engine": memory[ranks]}, bar=BAR_MB))
    slopes = [1000 * slope(RANKS, [above[ranks][i] for ranks in RANKS]) for i in range(rounds)]
    rows.append(report.row("ms_per_rank", "ms", "lower", {"ray_engine": slopes}, bar=BAR_MS_PER_RANK))
    return rows


def main():
    args = report.parse(__doc__, [])
    parts = {
        **{kind: lambda rounds, kind=kind: scheduler_rows(kind, rounds) for kind in KINDS},
        "waiting": waiting_rows,
        "ranks": rank_rows,
    }
    only = args.only.split(",") if args.only else list(parts)
    report.finish([row for name in only for row in parts[name](args.rounds)], args)


main()
