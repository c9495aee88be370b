"""Puts and gets per second while very many objects are alive: 1,000,000 small ones, and 100,000 in the store.

Column `few`, measured in the same run: the same with few live objects; `ratio` is what is left of that, with `bar` as
aim. The bytes per object are those of the owner and the engine together, without the value itself where it lies in the
store.
"""

import argparse
import pathlib
import statistics
import sys

import programs
import report

WORKLOAD = pathlib.Path(__file__).parent / "live_workload.py"
METRICS = ("put_small", "get_small", "put_stored", "get_stored")
BAR = 0.8


def arguments():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--small", type=int, default=1_000_000, help="live small objects (1,000,000)")
    parser.add_argument("--stored", type=int, default=100_000, help="live objects in the store (100,000)")
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    return own, report.parse(__doc__ + "\nOwn options: --small N, --stored N.", [])


def main():
    own, args = arguments()
    command = [sys.executable, WORKLOAD, own.small, own.stored]
    rounds = [programs.result(command, limit=600) for _ in range(args.rounds)]
    rows = []
    for metric in METRICS:
        many, few = ([figures[f"{metric}_{which}"] for figures in rounds] for which in ("many", "few"))
        row = report.row(metric, "1/s", "higher", {"ray_engine": many, "few": few}, bar=BAR)
        row["ratio"] = statistics.median(a / b for a, b in zip(many, few, strict=True))
        rows.append(row)
    for kind in ("small", "stored"):
        metric = f"bytes_per_{kind}_object"
        rows.append(report.row(metric, "bytes", "lower", {"ray_engine": [figures[metric] for figures in rounds]}))
    report.finish(rows, args)


main()
