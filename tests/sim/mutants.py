"""Shows that the simulation finds protocol bugs: plants those of mutants/*.patch one at a time into a copy of the tree.

    mutants.py [NAMES...] [--seeds N]

For each it builds sim_test and runs the simulation until a seed finds the bug. Exit code 1: a bug that N seeds do not
find. It takes some minutes, so it is run by hand.
"""

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATCHES = Path(__file__).parent / "mutants"
TREE, BUILD = ROOT / "build/mutants/tree", ROOT / "build/mutants/build"
LIMIT_S = 300  # of one program of the simulation; a bug that makes it spin is found by that


def copy_tree():
    """Copies what differs, with a new time, so that it is built anew."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        ours, copy = ROOT / name, TREE / name
        if not ours.is_file() or (copy.is_file() and filecmp.cmp(ours, copy, shallow=False)):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ours, copy)


def configure():
    options = ["-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -DNDEBUG -w", "-DRAY_ENGINE_PYTHON=OFF"]
    subprocess.run(["cmake", "-G", "Ninja", "-S", TREE, "-B", BUILD, *options], check=True, stdout=subprocess.DEVNULL)


def build():
    done = subprocess.run(
        ["cmake", "--build", BUILD, "--target", "sim_test", "--", "--quiet"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def patch(name, *options):
    words = ["patch", "-s", "-p1", "--no-backup-if-mismatch", *options, "-i", PATCHES / f"{name}.patch"]
    subprocess.run(words, cwd=TREE, check=True)


def simulations():
    listed = subprocess.run(
        [BUILD / "bin/sim_test", "--gtest_list_tests", "--gtest_filter=SimulationTest.*"],
        capture_output=True,
        text=True,
    )
    names = re.findall(r"^  (\w+)", listed.stdout, re.MULTILINE)
    return sorted(names, key=lambda name: name != "EverythingAtOnce")  # which finds most


def finding(simulation, seeds):
    """How this program finds the bug; None if it does not."""
    words = [BUILD / "bin/sim_test", "--gtest_brief=1", f"--gtest_filter=SimulationTest.{simulation}"]
    environment = {**os.environ, "RAY_ENGINE_SIM_SEEDS": str(seeds)}
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", env=environment, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"{simulation}: does not end"
    if done.returncode == 0:
        return None
    said = re.search(r'"(seed \d+, after \d+ events: [^"\n]{0,110})', done.stdout)
    return f"{simulation}: {said[1] if said else f'ends with code {done.returncode}'}"


def find(name, seeds):
    """The first finding; None if there is none."""
    patch(name)
    try:
        build()
        return next(filter(None, (finding(simulation, seeds) for simulation in simulations())), None)
    finally:
        patch(name, "-R")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=sorted(path.stem for path in PATCHES.glob("*.patch")))
    parser.add_argument("--seeds", type=int, default=1000)
    options = parser.parse_args()
    copy_tree()
    configure()
    missed = []
    for name in options.names:
        began = time.monotonic()
        found = find(name, options.seeds)
        print(f"{name:28} {time.monotonic() - began:4.0f} s  {found or 'MISSED'}", flush=True)
        missed += [] if found else [name]
    if missed:
        sys.exit(f"mutants: not found by {options.seeds} seeds: {', '.join(missed)}")
    print(f"mutants: all {len(options.names)} found")


if __name__ == "__main__":
    main()
