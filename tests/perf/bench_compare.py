"""Compares two files written with --json: exit code 1 if a row of ray_engine is worse than before.

Worse: by more than 20 %, and by more than the larger of its spreads in the two. Rows that only one file has are
named.
"""

import argparse
import json
import sys

WORSE = 0.2


def rows_of(path):
    with open(path) as file:
        rows = json.load(file)["rows"]
    return {row["metric"]: row for row in rows if "ray_engine" in row}


def spread_of(row):
    """That of ray_engine itself; other columns may vary more."""
    return row["spreads"]["ray_engine"] if "spreads" in row else row["spread"]


def loss(old, new):
    """By which part of the old figure the new one is worse; negative: better."""
    before, after = old["ray_engine"], new["ray_engine"]
    change = (after - before) / abs(before) if before else (after > 0) - (after < 0)
    return -change if new["better"] == "higher" else change


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", metavar="OLD.json")
    parser.add_argument("new", metavar="NEW.json")
    args = parser.parse_args()
    old, new = rows_of(args.old), rows_of(args.new)
    if not old.keys() & new.keys():
        parser.error(f"{args.old} and {args.new} have no row in common")
    worse = []
    print(f"{'metric':44}{'old':>14}{'new':>14}{'worse by':>10}{'allowed':>9}")
    for metric in (m for m in old if m in new):
        before, after = old[metric], new[metric]
        lost, allowed = loss(before, after), max(WORSE, spread_of(before), spread_of(after))
        print(f"{metric:44}{before['ray_engine']:14,.6g}{after['ray_engine']:14,.6g}{lost:10.0%}{allowed:9.0%}")
        worse += [metric] if lost > allowed else []
    for path, only in ((args.old, old.keys() - new.keys()), (args.new, new.keys() - old.keys())):
        if only:
            print(f"only in {path}: {', '.join(sorted(only))}")
    if worse:
        sys.exit(f"worse than before: {', '.join(worse)}")


main()
