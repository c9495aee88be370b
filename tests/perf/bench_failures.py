"""How soon work goes on when a worker or a node is lost, and what being ready for that costs.

Times are from the blow to the beginning of the task's second run. A node is lost because its engine or its supervisor
is killed, or because its engine is stopped and falls silent: then it is the heartbeat that tells.
"""

import pathlib

import programs
import report

WORKLOAD = pathlib.Path(__file__).parent / "failures_workload.py"
HEARTBEAT_LIMIT_MS = 5000  # the default of --heartbeat-limit
ROWS = {  # metric: (mode of the workload, unit, aim)
    "worker_retry_ms": ("worker", "ms", 50),
    "node_resume_ms": ("engine", "ms", 200),
    "node_resume_supervisor_ms": ("supervisor", "ms", 200),
    "node_resume_silent_ms": ("silent", "ms", HEARTBEAT_LIMIT_MS + 2000),
    "ft_cost_percent": ("retries", "%", 10),
}


def main():
    args = report.parse(__doc__, [], rounds=5)
    only = args.only.split(",") if args.only else list(ROWS)
    figures = {metric: [] for metric in ROWS if metric in only}
    for _ in range(args.rounds):
        for metric, column in figures.items():
            mode = ROWS[metric][0]
            column.append(programs.result(["python", WORKLOAD, mode], "ray_engine")[mode])
    rows = [
        report.row(metric, ROWS[metric][1], "lower", {"ray_engine": column}, ROWS[metric][2])
        for metric, column in figures.items()
    ]
    report.finish(rows, args)


main()
