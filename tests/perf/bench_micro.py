"""Calls per second: tasks, actors, objects, under metric names of Ray's own microbenchmark; all engines in turns.

Peers, each installed from PyPI into an environment of its own (peers.py) and tuned as its file says: ray, and those
of the peer_*.py files (dask, mpi4py, processpool, mppool, charm4py, dragon, parsl), which run the lines that they
can express. Not peers but bare programs: limit, two Python processes that pickle over the engine's ring, and warm
copies in as many processes as put; ring, two bare processes in C++ over that ring. A peer that cannot be installed
or fails is named, and the rest goes on.

`over_ray`: ray_engine / ray; `over_best`: ray_engine / the fastest peer; `over_limit`: ray_engine / limit, with 0.85 as
aim of puts of gigabytes. `--plot FILE.svg` draws the table.
"""

import argparse
import math
import pathlib
import statistics
import sys

import peers
import programs
import report

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 1200  # for all lines of one engine; Ray takes several minutes
UNITS = {
    "single_client_tasks_and_get_batch": "batch/s",
    "single_client_wait_1k_refs": "batch/s",
    "single_client_put_gigabytes": "GB/s",
    "multi_client_put_gigabytes": "GB/s",
}
AIMS = {
    "single_client_get_calls_Plasma_Store": 2_000_000,
    "single_client_put_calls_Plasma_Store": 1_000_000,
    "multi_client_put_calls_Plasma_Store": 500_000,
    "single_client_tasks_and_get_batch": 500,
    "single_client_get_object_containing_10k_refs": 500,
    "single_client_wait_1k_refs": 200,
    "single_client_tasks_sync": 200_000,
    "single_client_tasks_async": 600_000,
    "multi_client_tasks_async": 400_000,
    "1_1_actor_calls_sync": 220_000,
    "1_1_actor_calls_async": 700_000,
    "1_1_actor_calls_concurrent": 300_000,
    "1_n_actor_calls_async": 500_000,
    "1_n_actor_calls_async_n32": 300_000,
    "n_n_actor_calls_async": 500_000,
    "n_n_actor_calls_async_n32": 300_000,
    "n_n_actor_calls_with_arg_async": 300_000,
    "1_1_async_actor_calls_sync": 50_000,
    "1_1_async_actor_calls_async": 120_000,
    "1_1_async_actor_calls_with_args_async": 120_000,
    "1_n_async_actor_calls_async": 120_000,
    "n_n_async_actor_calls_async": 120_000,
    "placement_group_create/removal": 30_000,
}
MEAN_AIM, LEAST_AIM = 100, 25  # times Ray: the geometric mean over the lines that are not GB/s, and each of those

RING_LINES = {  # metric -> (the ring's figure that stands beside it, units per call)
    "single_client_tasks_sync": ("one_by_one", 1),
    "single_client_tasks_async": ("outstanding_1000", 1),
    "single_client_tasks_and_get_batch": ("outstanding_1000", 1 / 1000),
    "1_1_actor_calls_sync": ("one_by_one", 1),
    "1_1_actor_calls_async": ("outstanding_1000", 1),
}


def workload(engine, only):
    return [peers.python_of(engine), HERE / "micro_workload.py", engine, only]


def script(peer, *words):
    return [peers.python_of(peer), HERE / f"peer_{peer}.py", *words]


def charm4py(only, part):
    python = peers.python_of("charm4py")
    return [python, "-m", "charmrun.start", "+p2", HERE / "peer_charm4py.py", only, part]


def dragon(only):
    peers.python_of("dragon")
    # without the option it looks for a job where Slurm is installed
    return [peers.bin_of("dragon") / "dragon", "--single-node-override", HERE / "peer_dragon.py", only]


COMMANDS = {  # peer -> its programs, in functions of the wanted metrics
    "ray_engine": [lambda only: workload("ray_engine", only)],
    "ray": [lambda only: workload("ray", only)],
    "dask": [lambda only: script("dask", only)],
    "mpi4py": [
        lambda only: programs.mpirun(3, *script("mpi4py", only)),
        lambda only: programs.mpirun(2, *script("mpi4py", only)),
    ],
    "processpool": [lambda only: script("processpool", only)],
    "mppool": [lambda only: script("mppool", only)],
    "charm4py": [lambda only: charm4py(only, "actors"), lambda only: charm4py(only, "tasks")],
    "dragon": [dragon],
    "parsl": [lambda only: script("parsl", only)],
}
BARE = {
    "limit": [[sys.executable, HERE / "bare_ring.py"], [sys.executable, HERE / "bare_copy.py"]],
    "ring": [["bare_ring"]],
}


def bare_figures(name):
    figures = {}
    for command in BARE[name]:
        figures.update(programs.result(command))
    calls = {metric: units * figures[key] for metric, (key, units) in RING_LINES.items()}
    return {**calls, **{metric: figure for metric, figure in figures.items() if metric in UNITS}}


class Measurement:
    """Figures of all rounds, and what could not be measured."""

    def __init__(self, only):
        self.only, self.figures, self.failures = only, {}, {}

    def add(self, peer, figures):
        for metric, value in figures.items():
            if not self.only or metric in self.only.split(","):
                self.figures.setdefault(metric, {}).setdefault(peer, []).append(value)

    def run(self, peer):
        if peer in BARE:
            self.add(peer, bare_figures(peer))
            return
        for number, command in enumerate(COMMANDS[peer]):
            if (peer, number) in self.failures:
                continue
            try:
                self.add(peer, programs.result(command(self.only), peer, LIMIT_S))
            except (peers.CannotMeasure, programs.Failure) as failure:
                if peer == "ray_engine":
                    raise
                self.failures[peer, number] = peers.reason(failure)
                print(f"not measured: {peer}: {self.failures[peer, number]}", file=sys.stderr)

    def rows(self):
        return [with_ratios(line(metric, columns)) for metric, columns in self.figures.items()]


def line(metric, columns):
    return report.row(metric, UNITS.get(metric, "1/s"), "higher", columns, bar=AIMS.get(metric))


def best_peer(row):
    """(figure, name) of the fastest, if there is one."""
    return max(((row[peer], peer) for peer in COMMANDS if peer != "ray_engine" and peer in row), default=None)


def with_ratios(row):
    ours, best = row.get("ray_engine"), best_peer(row)
    if ours and best:
        row["over_best"] = ours / best[0]
    if ours and "ray" in row:
        row["over_ray"] = ours / row["ray"]
    if ours and "limit" in row:
        row["over_limit"] = ours / row["limit"]
    return row


def summary(rows):
    """What the table says as a whole; empty without peers."""
    over_ray = {row["metric"]: row["over_ray"] for row in rows if "over_ray" in row and row["unit"] != "GB/s"}
    behind = {row["metric"]: best_peer(row)[1] for row in rows if "over_best" in row and row["over_best"] <= 1}
    found = {}
    if over_ray:
        mean = math.exp(statistics.mean(map(math.log, over_ray.values())))
        found["geometric_mean_over_ray"] = {"value": mean, "lines": len(over_ray), "aim": MEAN_AIM}
        found["under_least_aim"] = {name: ratio for name, ratio in over_ray.items() if ratio < LEAST_AIM}
    if any("over_best" in row for row in rows):
        found["behind_best_peer"] = behind
    return found


def print_summary(found):
    if mean := found.get("geometric_mean_over_ray"):
        print(f"geometric mean over Ray: {mean['value']:.0f} times, {mean['lines']} lines (aim: {mean['aim']})")
        slow = ", ".join(f"{name} ({ratio:.0f})" for name, ratio in found["under_least_aim"].items())
        print(f"lines under {LEAST_AIM} times Ray: {slow or 'none'}")
    if "behind_best_peer" in found:
        slow = ", ".join(f"{name} ({peer})" for name, peer in found["behind_best_peer"].items())
        print(f"lines behind the best peer: {slow or 'none'}")


def plot(args):
    """In the plotter's own environment, as the project's has no library for it."""
    try:
        python = peers.python_of("plot")
    except peers.CannotMeasure as failure:
        sys.exit(f"no plot: {failure}")
    programs.run([python, HERE / "plot_micro.py", args.json, args.plot], "plot")


def arguments():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--plot", metavar="FILE", help="draw the table (.svg, .png, .pdf)")
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    args = report.parse(__doc__, [*list(COMMANDS)[1:], *BARE])
    args.plot = own.plot
    if args.plot and not args.json:
        args.json = str(pathlib.Path(args.plot).with_suffix(".json"))
    return args


def main():
    args = arguments()
    measurement = Measurement(args.only)
    for _ in range(args.rounds):
        for peer in ["ray_engine", *args.against]:  # alternating, so that all see the same machine
            measurement.run(peer)
    rows = measurement.rows()
    versions = {peer: peers.version_of(peer) for peer in args.against if peer in peers.PACKAGES}
    found = summary(rows)
    not_measured = {peer: text for (peer, _), text in measurement.failures.items()}
    report.finish(rows, args, versions=versions, summary=found, not_measured=not_measured)
    print_summary(found)
    for peer, reason in not_measured.items():
        print(f"not measured: {peer}: {reason}")
    if args.plot:
        plot(args)


if __name__ == "__main__":
    main()
