"""Bytes per second through the store: large puts, and objects that a full store spills to disk and brings back.

Column `limit`, measured in turns of the same run: for puts the same bytes copied between warm arrays, in as many
processes; for spilling and restoring one thread that sums up and writes, or reads, the same bytes with a plain file
(tests/perf/bare_file.cc). `ratio` is what ray-engine reaches of it, with `bar` as aim. Peer: ray, for the puts.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

import peers
import programs
import report

WORKLOAD = pathlib.Path(__file__).parent / "store_workload.py"
SIZES = {"1mib": 1 << 20, "128kib": 128 << 10}
BARS = {
    "put_large": 0.85,
    "put_large_2": 0.85,
    "spill_1mib": 0.85,
    "restore_1mib": 0.85,
    "spill_128kib": 0.75,
    "restore_128kib": 0.75,
}
GROUPS = [["put_large"], ["put_large_2"], ["spill_1mib", "restore_1mib"], ["spill_128kib", "restore_128kib"]]


def arguments():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--gib", type=float, default=2, help="GiB that are spilled and restored (2)")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="where the files lie; a disk, not memory")
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    return own, report.parse(__doc__ + "\nOwn options: --gib N, --folder DIR.", ["ray", "limit"])


def bare_file(own, label):
    figures = programs.result(["bare_file", own.folder, SIZES[label], int(own.gib * (1 << 30))], limit=600)
    return {f"spill_{label}": figures["write"], f"restore_{label}": figures["read"]}


def store(own, group, peer="ray_engine"):
    command = [peers.python_of(peer), WORKLOAD, peer, ",".join(group), own.folder, own.gib]
    return programs.result(command, peer, limit=600)


def one_round(own, group, against):
    """{metric: {column: figure}} of metrics that are measured together."""
    ours, theirs = store(own, group), {}
    label = group[0].partition("_")[2]
    limits = bare_file(own, label) if label in SIZES else {m: ours[f"{m}/limit"] for m in group}
    if "ray" in against and label not in SIZES:
        theirs = store(own, group, "ray")
    columns = {"ray_engine": ours, "limit": limits, "ray": theirs}
    return {m: {name: figures[m] for name, figures in columns.items() if m in figures} for m in group}


def main():
    own, args = arguments()
    only = set(args.only.split(",")) if args.only else set(BARS)
    rows = []
    for group in GROUPS:
        if not only & set(group):
            continue
        rounds = [one_round(own, group, args.against) for _ in range(args.rounds)]
        for metric in (m for m in group if m in only):
            columns = {name: [each[metric][name] / 1e6 for each in rounds] for name in rounds[0][metric]}
            row = report.row(metric, "MB/s", "higher", columns, bar=BARS[metric])
            both = zip(columns["ray_engine"], columns["limit"], strict=True)
            row["ratio"] = statistics.median(ours / limit for ours, limit in both)
            rows.append(row)
    report.finish(rows, args)


main()
