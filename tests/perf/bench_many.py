"""Many at once: 1,000 actors alive, 10,000 one after another, 32 on two CPUs; 10,000 arguments, 3,000 returns, 10,000
gets; tasks of a given length on two CPUs.

`args_`, `returns_` and `gets_` are seconds for all; `_lists` and `_arrays` have 10,000 numbers each, as in Ray's own
single-node test, where the program's work counts, too (pickling and adding up). `_over_ray` are ratios of one round.
`worker_mb` is a worker's share of memory (PSS). Ray gets 32 actors at a time and 64 one after another, as 1,000 do not
fit. `actors_32_over_2` is the throughput of 32 actors over that of two in bursts of 5,000 calls, in pairs.
`makespan_` is time over that of tasks that follow each other without a gap on both CPUs. Peer: ray.
"""

import pathlib

import peers
import programs
import report

WORKLOAD = pathlib.Path(__file__).resolve().parent / "many_workload.py"
LIMIT_S = 900
UNITS = {"worker_mb": "MB", "actors_32_over_2": "times"}
BARS = {
    "actors_1000_per_s": 400,
    "actors_32_over_2": 0.7,
    "makespan_1ms_over_ideal": 1.05,
    "makespan_10ms_over_ideal": 1.05,
    "makespan_1s_over_ideal": 1.05,
}
OVER_RAY = 30


def kind(metric):
    """(unit, which is better)"""
    if metric.endswith("_per_s"):
        return "1/s", "higher"
    if metric.endswith("_s"):
        return "s", "lower"
    return UNITS.get(metric, "times"), "higher" if metric == "actors_32_over_2" else "lower"


def rows_of(metric, columns):
    rows = [report.row(metric, *kind(metric), columns, bar=BARS.get(metric))]
    if kind(metric)[0] == "s" and "ray" in columns:
        ratios = [ray / ours for ours, ray in zip(columns["ray_engine"], columns["ray"], strict=True)]
        name = metric.removesuffix("_s") + "_over_ray"
        rows.append(report.row(name, "times", "higher", {"ray_engine": ratios}, bar=OVER_RAY))
    return rows


def main():
    args = report.parse(__doc__, ["ray"])
    figures = {}
    for _ in range(args.rounds):
        for engine in ["ray_engine", *args.against]:  # alternating, so that both see the same machine
            command = [peers.python_of(engine), WORKLOAD, engine, args.only]
            for metric, figure in programs.result(command, engine, LIMIT_S).items():
                figures.setdefault(metric, {}).setdefault(engine, []).append(figure)
    report.finish([row for metric, columns in figures.items() for row in rows_of(metric, columns)], args)


main()
