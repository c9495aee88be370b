"""Objects between the nodes of a Slurm cluster on this machine (tests/slurm/lab.sh), launched by srun. Needs root.

pull_1gib: 1 GiB from one node to another, in objects of 64 MiB; limit: a bare loop over UCX (bare_ucx.cc).
broadcast_7_over_1: 256 MiB from one node to seven over links of 1 Gbit/s, divided by the time to one.
"""

import contextlib
import os
import pathlib
import subprocess
import tempfile

import programs
import report

HERE = pathlib.Path(__file__).resolve().parent
LAB = HERE.parent / "slurm" / "lab.sh"
WORKLOAD = HERE / "network_workload.py"
BUILD = HERE.parents[1] / "build"


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
    return ["srun", "--mpi=pmix", "-N", str(nodes), "-n", str(nodes), "ray-engine", *words]


def seconds(what, mib, receivers):
    command = srun(receivers + 1, "--object-store-memory", "1500MB", str(WORKLOAD), what, str(mib), str(receivers))
    return programs.result(command)["seconds"]


def broadcast_row(run, rounds):
    run("rate", "1000")
    pairs = [(seconds("broadcast", 256, 7), seconds("broadcast", 256, 1)) for _ in range(rounds)]
    run("rate", "0")
    columns = {"ray_engine": [seven / one for seven, one in pairs]}
    return report.row("broadcast_7_over_1", "times", "lower", columns, bar=1.3)


def bare_seconds():
    with tempfile.TemporaryDirectory(prefix="bare-ucx-", dir=BUILD) as folder:
        program = BUILD / "release" / "bin" / "bare_ucx"
        return programs.result(["srun", "-N", "2", "-n", "2", program, f"{folder}/address"])["seconds"]


def pull_rows(rounds):
    """The ratio is that of a pair of runs, one after the other."""
    pairs = [(seconds("pull", 64, 1), bare_seconds()) for _ in range(rounds)]
    ours, limit = ([1024 / figure for figure in figures] for figures in zip(*pairs, strict=True))
    ratios = [bare / our for our, bare in pairs]
    return [
        report.row("pull_1gib", "MiB/s", "higher", {"ray_engine": ours, "limit": limit}),
        report.row("pull_1gib_over_limit", "times", "higher", {"ray_engine": ratios}, bar=0.9),
    ]


def main():
    args = report.parse(__doc__, [])
    only = args.only.split(",") if args.only else ["pull_1gib", "broadcast_7_over_1"]
    with lab(8) as run:
        rows = pull_rows(args.rounds) if "pull_1gib" in only else []
        rows += [broadcast_row(run, args.rounds)] if "broadcast_7_over_1" in only else []
    report.finish(rows, args)


if __name__ == "__main__":
    main()
