"""Benchmark reports: rounds of figures to a table and to JSON.

JSON: {"machine": ..., "rows": [{"metric", "unit", "better", "ray_engine": median, "<peer>": median, "spread"}]}.
`spread` is the widest (max - min) / median over the columns of a row.
"""

import argparse
import json
import os
import platform
import statistics


def parse(description, peers):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--against", default="", metavar="PEER,...", help=f"compare with: {', '.join(peers)}")
    parser.add_argument("--json", metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="METRIC,...", help="run these lines only")
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


def row(metric, unit, better, columns):
    """`columns`: column name -> figures of the rounds."""
    columns = {name: figures for name, figures in columns.items() if figures}
    spread = max((max(f) - min(f)) / statistics.median(f) for f in columns.values() if statistics.median(f))
    result = {"metric": metric, "unit": unit, "better": better}
    result.update({name: statistics.median(figures) for name, figures in columns.items()})
    result["spread"] = round(spread, 3)
    return result


def finish(rows, args):
    names = [name for name in ["ray_engine", *args.against] if any(name in r for r in rows)]
    print(f"{'metric':44}{'unit':10}" + "".join(f"{name:>14}" for name in names) + f"{'spread':>9}")
    for r in rows:
        figures = "".join(
            f"{r[name]:14,.4g}" if name in r and r[name] < 100 else f"{r.get(name, float('nan')):14,.0f}"
            for name in names
        )
        print(f"{r['metric']:44}{r['unit']:10}{figures}{r['spread']:9.0%}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": machine(), "rows": rows}, file, indent=1)
