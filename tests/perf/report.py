"""Benchmark reports: rounds of figures to a table and to JSON.

JSON: {"machine": ..., "rows": [{"metric", "unit", "better", "ray_engine": median, "<peer>": median, "bar",
"spread", "spreads"}]}. `bar` is what ray_engine has to reach, where there is such an aim. `spreads` are (max - min)
/ median of each column, `spread` is the widest of them. Columns that compare others (`ratio`, `over_<peer>`) stand
last.
"""

import argparse
import json
import os
import platform
import statistics
import sys

NOT_COLUMNS = {"metric", "unit", "better", "bar", "spread", "spreads"}


def parse(description, peers, rounds=3):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--against", default="", metavar="PEER,...", help=f"compare with: {', '.join(peers)}")
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"rounds, of which the medians count ({rounds})")
    parser.add_argument("--only", default="", metavar="METRIC,...", help="these rows only")
    args = parser.parse_args()
    args.against = [peer for peer in args.against.split(",") if peer]
    for peer in args.against:
        if peer not in peers:
            parser.error(f"no peer {peer!r}; there are: {', '.join(peers)}")
    return args


def machine():
    with open("/proc/cpuinfo") as info:
        model = next(
            (line.split(":")[1].strip() for line in info if line.startswith("model name")), platform.processor()
        )
    return {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def spread_of(figures):
    middle = abs(statistics.median(figures))
    return round((max(figures) - min(figures)) / middle, 3) if middle else 0


def row(metric, unit, better, columns, bar=None):
    """`columns`: column name -> figures of the rounds."""
    columns = {name: figures for name, figures in columns.items() if figures}
    spreads = {name: spread_of(figures) for name, figures in columns.items()}
    result = {"metric": metric, "unit": unit, "better": better}
    result.update({name: statistics.median(figures) for name, figures in columns.items()})
    if bar is not None:
        result["bar"] = bar
    result["spread"] = max(spreads.values(), default=0)
    result["spreads"] = spreads
    return result


def column_names(rows, peers):
    """Our own, the peers in the order that was asked for, those that compare others."""
    names = dict.fromkeys(name for r in rows for name in r if name not in NOT_COLUMNS)

    def rank(name):
        return 1000 if name == "ratio" or name.startswith("over_") else peers.index(name) if name in peers else -1

    return sorted(names, key=rank)


def cell(figure):
    if figure is None:
        return f"{'-':>13}"
    return f"{figure:13,.4g}" if figure < 100 else f"{figure:13,.0f}"


def finish(rows, args, **more):
    """Prints the table; `more` goes into the JSON beside the rows."""
    if not rows:
        sys.exit(f"there is no row {args.only}")
    names = column_names(rows, args.against)
    bars = any("bar" in r for r in rows)
    header = "".join(f"{name:>13}" for name in names + ["bar"] * bars)
    width = max(44, *(len(r["metric"]) for r in rows)) + 1
    print(f"{'metric':{width}}{'unit':10}{header}{'spread':>9}")
    for r in rows:
        figures = "".join(cell(r.get(name)) for name in names + ["bar"] * bars)
        print(f"{r['metric']:{width}}{r['unit']:10}{figures}{r['spread']:9.0%}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": machine(), **more, "rows": rows}, file, indent=1)
