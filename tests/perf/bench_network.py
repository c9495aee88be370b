"""Objects between the nodes of a Slurm cluster on this machine (tests/slurm/lab.sh), launched by srun, at several link
rates. Needs root.

pull_1gib: 1 GiB from one node to another, in objects of 64 MiB. broadcast_7: 256 MiB from one node to seven, and
broadcast_7_over_1 that over the time to one. all_to_all_4: four nodes, each with 64 MiB for each of the others;
MiB/s that arrive at all of them together. `_1gbit` and `_10gbit`: every node sends and receives so much, no more.

Column limit: a bare loop over UCX (bare_ucx.cc). Peers, over the same networks: ray; ucx_perftest, the bandwidth of
messages of the engine's chunk size (the package ucx-utils).
"""

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import peers
import programs
import report

HERE = pathlib.Path(__file__).resolve().parent
LAB = HERE.parent / "slurm" / "lab.sh"
WORKLOAD = HERE / "network_workload.py"
BUILD = HERE.parents[1] / "build"
NODES, LIMIT_S = 8, 300
RATES = {"": 0, "_10gbit": 10_000, "_1gbit": 1_000}  # ends of metrics' names and Mbit/s
PULL_MIB, BROADCAST_MIB, EXCHANGE_MIB, EXCHANGE_NODES = 64, 256, 64, 4
CHUNK, CHUNKS = 4 << 20, 256  # of ucx_perftest: the size is kPullChunk
UCX_PORT = 13337


@contextlib.contextmanager
def lab(nodes):
    """A cluster of so many nodes; yields a function that runs a command of lab.sh in it."""
    with tempfile.TemporaryDirectory(prefix="bench-lab-", dir=BUILD) as folder:
        environment = {**os.environ, "LAB_DIR": f"{folder}/lab"}

        def run(*words):
            subprocess.run([LAB, *words], env=environment, check=True, timeout=120)

        run("up", str(nodes))
        os.environ["SLURM_CONF"] = f"{folder}/lab/slurm.conf"
        try:
            yield run
        finally:
            del os.environ["SLURM_CONF"]
            run("down")


def srun(nodes, *words):
    return ["srun", "--mpi=pmix", "--kill-on-bad-exit", "-N", str(nodes), "-n", str(nodes), *words]


def transfer(engine, what, mib, receivers):
    """{"seconds", "bytes"} of the workload under one engine."""
    arguments = [WORKLOAD, engine, what, mib, receivers]
    if engine == "ray_engine":
        command = srun(receivers + 1, "ray-engine", "--object-store-memory", "1500MB", *arguments)
        return programs.result(command, limit=LIMIT_S)
    with tempfile.TemporaryDirectory(prefix="ray-cluster-", dir=BUILD) as folder:
        command = srun(receivers + 1, peers.python_of(engine), HERE / "ray_cluster.py", folder, *arguments)
        return programs.result(command, engine, LIMIT_S)


def mib_per_s(figures):
    return figures["bytes"] / figures["seconds"] / (1 << 20)


def bare_ucx():
    """MiB/s"""
    with tempfile.TemporaryDirectory(prefix="bare-ucx-", dir=BUILD) as folder:
        program = BUILD / "release" / "bin" / "bare_ucx"
        return 1024 / programs.result(srun(2, program, f"{folder}/address"), limit=LIMIT_S)["seconds"]


def ucx_perftest():
    """MiB/s; the last line's columns: iterations, three of latency, two of bandwidth, two of message rate."""
    words = ["-t", "tag_bw", "-s", CHUNK, "-n", CHUNKS, "-w", "16", "-p", UCX_PORT]
    tool = [str(word) for word in ["ucx_perftest", *words]]
    server = subprocess.Popen(["srun", "-w", "n1", "-n", "1", *tool], stdout=subprocess.DEVNULL)
    try:
        client = ["bash", "-c", 'for _ in $(seq 100); do "$@" n1 -f -v && exit; sleep 0.1; done; exit 1', "-", *tool]
        done = subprocess.run(
            ["srun", "-w", "n2", "-n", "1", *client], capture_output=True, text=True, timeout=LIMIT_S, check=True
        )
        server.wait(timeout=30)
    finally:
        server.kill()
        server.wait()
    return float(done.stdout.strip().splitlines()[-1].split(",")[5])


def pull_rows(suffix, rounds, engines, tools):
    """The ratio is that of a pair of runs, one after the other."""
    columns = {name: [] for name in [*engines, "limit", *tools]}
    for _ in range(rounds):
        for engine in engines:
            columns[engine].append(mib_per_s(transfer(engine, "pull", PULL_MIB, 1)))
        columns["limit"].append(bare_ucx())
        for tool in tools:
            columns[tool].append(ucx_perftest())
    ratios = [ours / limit for ours, limit in zip(columns["ray_engine"], columns["limit"], strict=True)]
    return [
        report.row(f"pull_1gib{suffix}", "MiB/s", "higher", columns),
        report.row(f"pull_1gib_over_limit{suffix}", "times", "higher", {"ray_engine": ratios}, bar=0.9),
    ]


def broadcast_rows(suffix, rounds, engines, _):
    seven, ratios = {name: [] for name in engines}, {name: [] for name in engines}
    for _ in range(rounds):
        for engine in engines:
            to_seven, to_one = (transfer(engine, "broadcast", BROADCAST_MIB, n)["seconds"] for n in (7, 1))
            seven[engine].append(to_seven)
            ratios[engine].append(to_seven / to_one)
    bar = 1.3 if RATES[suffix] == 1_000 else None  # where the links bound it, not the CPUs of this machine
    return [
        report.row(f"broadcast_7{suffix}", "s", "lower", seven),
        report.row(f"broadcast_7_over_1{suffix}", "times", "lower", ratios, bar=bar),
    ]


def exchange_rows(suffix, rounds, engines, _):
    columns = {name: [] for name in engines}
    for _ in range(rounds):
        for engine in engines:
            figures = transfer(engine, "all_to_all", EXCHANGE_MIB, EXCHANGE_NODES)
            columns[engine].append(mib_per_s(figures))
    return [report.row(f"all_to_all_4{suffix}", "MiB/s", "higher", columns)]


PARTS = {"pull_1gib": pull_rows, "broadcast_7": broadcast_rows, "all_to_all_4": exchange_rows}


def main():
    args = report.parse(
        __doc__ + "\n--only: pull_1gib_1gbit and so on; a name and the end of a rate.", ["ray", "ucx_perftest"]
    )
    only = set(filter(None, args.only.split(",")))
    known = {part + suffix for part in PARTS for suffix in RATES}
    if only - known:
        sys.exit(f"no such row: {', '.join(sorted(only - known))}; there are {', '.join(sorted(known))}")
    tools = [name for name in args.against if name == "ucx_perftest"]
    if tools and shutil.which("ucx_perftest") is None:
        sys.exit("--against ucx_perftest: it is not installed (the package ucx-utils)")
    engines = ["ray_engine", *(name for name in args.against if name == "ray")]
    rows = []
    with lab(NODES) as run:
        for suffix, mbit in RATES.items():
            parts = [part for name, part in PARTS.items() if not only or name + suffix in only]
            if parts:
                run("rate", str(mbit))
            rows += [row for part in parts for row in part(suffix, args.rounds, engines, tools)]
    report.finish(rows, args)


if __name__ == "__main__":
    main()
