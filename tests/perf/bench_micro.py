"""Calls per second: tasks, actors, objects. Peers: ray (in the environment that RAY_BENCH_PYTHON names, with ray installed),
limit (two bare Python processes that pickle over a spinning shared-memory ring)."""

import json
import os
import pathlib
import subprocess
import sys

import report

HERE = pathlib.Path(__file__).parent
UNITS = {"single_client_tasks_and_get_batch": "batch/s", "single_client_wait_1k_refs": "batch/s"}


def one_round(peer, only):
    if peer == "limit":
        command = [sys.executable, str(HERE / "micro_limit.py")]
    else:
        python = os.environ.get("RAY_BENCH_PYTHON", "") if peer == "ray" else sys.executable
        if not python:
            sys.exit("bench micro --against ray: set RAY_BENCH_PYTHON to a python that has ray installed")
        command = [python, str(HERE / "micro_workload.py"), "ray" if peer == "ray" else "ray_engine", only]
    environment = {k: v for k, v in os.environ.items() if peer != "ray" or k != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line[7:])
    sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def main():
    args = report.parse(__doc__, ["ray", "limit"])
    peers = ["ray_engine", *args.against]
    figures = {}
    for _ in range(args.rounds):
        for peer in peers:  # alternating, so that all see the same machine
            for metric, value in one_round(peer, args.only).items():
                figures.setdefault(metric, {}).setdefault(peer, []).append(value)
    rows = [report.row(metric, UNITS.get(metric, "1/s"), "higher", columns) for metric, columns in figures.items()]
    report.finish(rows, args)


main()
