"""Benchmark reports: rounds of figures to a table and to JSON.

JSON: {"machine": ..., "rows": [{"metric", "unit", "better", "ray_engine": median, "<peer>": median, "bar", "spread"}]}.
`bar` is what ray_engine has to reach, where there is such an aim. `spread` is the widest (max - min) / median over the
columns of a row.
"""

import argparse
import json
import os
import platform
import statistics

NOT_COLUMNS = {"metric", "unit", "better", "bar", "spread"}


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


def row(metric, unit, better, columns, bar=None):
    """`columns`: column name -> figures of the rounds."""
    columns = {name: figures for name, figures in columns.items() if figures}
    spreads = [(max(f) - min(f)) / abs(statistics.median(f)) for f in columns.values() if statistics.median(f)]
    result = {"metric": metric, "unit": unit, "better": better}
    result.update({name: statistics.median(figures) for name, figures in columns.items()})
    if bar is not None:
        result["bar"] = bar
    result["spread"] = round(max(spreads, default=0), 3)
    return result


def column_names(rows):
    """In order of appearance."""
    return list(dict.fromkeys(name for r in rows for name in r if name not in NOT_COLUMNS))


def cell(figure):
    if figure is None:
        return f"{'-':>14}"
    return f"{figure:14,.4g}" if figure < 100 else f"{figure:14,.0f}"


def finish(rows, args):
    names = column_names(rows)
    bars = any("bar" in r for r in rows)
    header = "".join(f"{name:>14}" for name in names + ["bar"] * bars)
    print(f"{'metric':44}{'unit':10}{header}{'spread':>9}")
    for r in rows:
        figures = "".join(cell(r.get(name)) for name in names + ["bar"] * bars)
        print(f"{r['metric']:44}{r['unit']:10}{figures}{r['spread']:9.0%}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": machine(), "rows": rows}, file, indent=1)
