"""How costs grow: of the scheduler and of an owner alone up to 10,000 nodes and 1,000,000 requests, of the engine up to
32 ranks here.

Figures of the scheduler and of the owner are per second of CPU time of one thread (tests/perf/scale_scheduler.cc and
scale_ownership.cc). owner_tasks: a task ends, the next is pushed and one is submitted, with a worker on each node.
owner_borrows: a borrower registers a reference and gives it back, with a borrower on each node. `..._growth` is the
exponent of the cost's growth with the number of nodes, or with what waits, fitted over all sizes (0: none, 1:
proportional). Ranks are virtual nodes of one mpirun; their times are from launch to the first result, less those of a
bare mpirun of as many. `messages_per_task_of_...`: those that the driver sends and receives.
"""

import math
import pathlib
import statistics
import sys
import time

import programs
import psutil
import report

WORKLOAD = pathlib.Path(__file__).parent / "scale_workload.py"
NODES = [10, 100, 1_000, 10_000]
WAITING = [10, 1_000, 100_000, 1_000_000]
RANKS = [1, 2, 4, 8, 16, 32]
# program, its kind, name of the rows; what is waiting while nodes grow, nodes while that grows (None: it does not)
SERIES = {
    "leases": ("scale_scheduler", "leases", "scheduler_decisions", 1_000_000, 1_000),
    "groups": ("scale_scheduler", "groups", "groups", 10_000, None),
    "actors": ("scale_scheduler", "actors", "actors", 10_000, None),
    "owner_tasks": ("scale_ownership", "tasks", "owner_tasks", 100_000, 100),
    "owner_borrows": ("scale_ownership", "borrows", "owner_borrows", 100_000, 100),
}
BAR_DECISIONS, BAR_GROWTH, BAR_MS_PER_RANK, BAR_MB = 1_000_000, 2, 10, 30


def per_s(program, kind, nodes, waiting):
    return programs.result([program, kind, nodes, waiting])["per_s"]


def exponent(sizes, costs):
    """b of the power law cost = a * size ** b that fits best."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(cost) for cost in costs]).slope


def slope(sizes, costs):
    return statistics.linear_regression(sizes, costs).slope


def sizes_rows(name, unit, sizes, runs, bars):
    """A row for each size and one for the growth of the cost; `runs` are rates by size."""
    rows = []
    for index, size in enumerate(sizes):
        metric = f"{name}_{size}_{unit}"
        rows.append(
            report.row(metric, "per s", "higher", {"ray_engine": [run[index] for run in runs]}, bars.get(metric))
        )
    exponents = [exponent(sizes, [1 / rate for rate in run]) for run in runs]
    rows.append(report.row(f"{name}_growth_with_{unit}", "exponent", "lower", {"ray_engine": exponents}))
    return rows


def series_rows(series, rounds):
    program, kind, name, waiting, nodes = SERIES[series]
    runs = [[per_s(program, kind, size, waiting) for size in NODES] for _ in range(rounds)]
    rows = sizes_rows(name, "nodes", NODES, runs, {"scheduler_decisions_10000_nodes": BAR_DECISIONS})
    if series == "leases":
        columns = {"ray_engine": [run[NODES.index(100)] / run[NODES.index(10_000)] for run in runs]}
        rows.append(report.row("cost_growth_100_to_10000_nodes", "times", "lower", columns, bar=BAR_GROWTH))
    if nodes is not None:
        runs = [[per_s(program, kind, nodes, size) for size in WAITING] for _ in range(rounds)]
        rows += sizes_rows(name, "waiting", WAITING, runs, {})
    return rows


def resident_mb(process):
    """Of memory that is the process's own or mapped from files: not what it shares with others in segments."""
    with open(f"/proc/{process.pid}/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    return sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1024


def engine_run(ranks):
    """(seconds from launch to the first result, MB of the largest engine with its supervisor, messages per task)"""
    start = time.perf_counter()
    with programs.Program(programs.mpirun(ranks, "ray-engine", "--virtual-nodes", WORKLOAD)) as program:
        program.result()
        seconds = time.perf_counter() - start
        messages = program.result()["messages"]
        below = psutil.Process(program.process.pid).children(recursive=True)
        engines = [process for process in below if process.name().startswith("ray-engine-node")]
        memory = max(resident_mb(engine) + resident_mb(engine.parent()) for engine in engines)
    return seconds, memory, messages


def rank_rows(rounds):
    above, memory, messages = ({ranks: [] for ranks in RANKS} for _ in range(3))
    for _ in range(rounds):
        for ranks in RANKS:
            seconds, mb, per_task = engine_run(ranks)
            above[ranks].append(seconds - programs.bare_mpirun_s(ranks))
            memory[ranks].append(mb)
            messages[ranks].append(per_task)
    rows = []
    for ranks in RANKS:
        rows.append(report.row(f"ranks_{ranks}_over_bare_s", "s", "lower", {"ray_engine": above[ranks]}))
        rows.append(report.row(f"engine_mb_of_{ranks}", "MB", "lower", {"ray_engine": memory[ranks]}, bar=BAR_MB))
        rows.append(report.row(f"messages_per_task_of_{ranks}", "", "lower", {"ray_engine": messages[ranks]}))
    for name, unit, figures, bar in (
        ("ms_per_rank", "ms", {n: [1000 * figure for figure in above[n]] for n in RANKS}, BAR_MS_PER_RANK),
        ("engine_mb_per_rank", "MB", memory, None),
        ("messages_per_task_per_rank", "", messages, None),
    ):
        slopes = [slope(RANKS, [figures[ranks][i] for ranks in RANKS]) for i in range(rounds)]
        rows.append(report.row(name, unit, "lower", {"ray_engine": slopes}, bar=bar))
    return rows


def main():
    args = report.parse(__doc__ + f"\n--only takes {', '.join(SERIES)}, ranks.", [])
    only = args.only.split(",") if args.only else [*SERIES, "ranks"]
    if unknown := set(only) - {*SERIES, "ranks"}:
        sys.exit(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(SERIES)}, ranks")
    rows = []
    for part in only:
        rows += rank_rows(args.rounds) if part == "ranks" else series_rows(part, args.rounds)
    report.finish(rows, args)


main()
