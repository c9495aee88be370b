"""Draws the JSON of bench_micro.py: plot_micro.py JSON FILE. One line per metric, one mark per engine, logarithmic;
runs in the environment `plot` of peers.py."""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

ENGINES = [
    "ray_engine",
    "ray",
    "dask",
    "mpi4py",
    "processpool",
    "mppool",
    "charm4py",
    "dragon",
    "parsl",
    "limit",
    "ring",
]
BARE = {"limit": "black", "ring": "silver"}


def main():
    with open(sys.argv[1]) as file:
        rows = json.load(file)["rows"][::-1]
    figure, axes = plt.subplots(figsize=(11, 1.5 + 0.28 * len(rows)), layout="constrained")
    colours = matplotlib.colormaps["tab10"]
    for index, engine in enumerate(engine for engine in ENGINES if any(engine in row for row in rows)):
        points = [(row[engine], place) for place, row in enumerate(rows) if engine in row]
        style = (
            {"marker": "|", "s": 120, "color": BARE[engine]}
            if engine in BARE
            else {"color": colours(index % 10), "s": 28}
        )
        style |= {"marker": "D", "s": 40, "zorder": 3} if engine == "ray_engine" else {}
        axes.scatter(*zip(*points, strict=True), label=engine, **style)
    aims = [(row["bar"], place) for place, row in enumerate(rows) if "bar" in row]
    if aims:
        axes.scatter(*zip(*aims, strict=True), label="aim", marker="x", s=24, color="grey")
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [f"{row['metric']} ({row['unit']})" for row in rows], fontsize=8)
    axes.grid(axis="both", alpha=0.3)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    axes.set_xlabel("more is better")
    figure.savefig(sys.argv[2])


main()
