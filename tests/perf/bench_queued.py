"""1,000,000 tasks queued at once: the bytes that each takes of its owner, its reference in Python included, and how
many per second are submitted meanwhile, and run afterwards by one worker.
"""

import argparse
import pathlib
import sys

import programs
import report

WORKLOAD = pathlib.Path(__file__).parent / "queued_workload.py"
METRICS = {  # unit, what is better, aim
    "bytes_per_queued_task": ("bytes", "lower", 500),
    "queued_1m_tasks_submitted_per_s": ("1/s", "higher", None),
    "queued_1m_tasks_drained_per_s": ("1/s", "higher", 200_000),
}


def arguments():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--tasks", type=int, default=1_000_000, help="queued tasks (1,000,000)")
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    return own, report.parse(__doc__ + "\nOwn option: --tasks N.", [])


def main():
    own, args = arguments()
    rounds = [programs.result([sys.executable, WORKLOAD, own.tasks], limit=600) for _ in range(args.rounds)]
    rows = [
        report.row(metric, unit, better, {"ray_engine": [figures[metric] for figures in rounds]}, bar=bar)
        for metric, (unit, better, bar) in METRICS.items()
    ]
    report.finish(rows, args)


main()
