#!/usr/bin/env python3
"""Runs Ray's own test files, taken from a checkout of Ray, against `import ray` of this engine.

    run.py RAY_CHECKOUT [FILES...] [--json FILE]

Each file gets a pytest process of its own with our fixtures (site/ray_conformance/fixtures.py); names inside Ray that
the engine does not have are served lazily and fail only when they are used (hook.py beside it). A test that hangs or
takes its process down is counted as failed and the rest of its file goes on in a new process. With --repeat a test has
passed if it passed every time. Tests listed in not_applicable.txt are not counted. The exit code is 0 when every test
that did not pass is listed in known_failures.txt.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
OUTCOMES = ["passed", "unsteady", "failed", "skipped", "error"]  # unsteady: passed in some runs only
GRACE_S = 20  # beyond a test's own limit, before its process is killed
PYTEST_INI = "[pytest]\nfilterwarnings =\n    ignore:.*:\nasyncio_mode = auto\naddopts = -p no:cacheprovider\n"


@dataclass
class FileResult:
    """What is known about one test file: an outcome per test id, and what collection said."""

    name: str
    tests: dict = field(default_factory=dict)  # id -> {"id", "outcome", "seconds", "internal", "message", "runs"}
    not_applicable: list = field(default_factory=list)  # ids of tests that were run but do not count
    problem: str = ""
    seconds: float = 0.0

    def add(self, test_id, outcome, seconds=0.0, internal=(), message=""):
        self.tests[test_id] = {
            "id": test_id,
            "outcome": outcome,
            "seconds": round(seconds, 3),
            "internal": sorted(internal),
            "message": message,
            "runs": [outcome],
        }

    def count(self, outcome):
        return sum(1 for test in self.tests.values() if test["outcome"] == outcome)

    def merge(self, other):
        """Takes in another run of the same file: the worse outcome counts, and the mean time."""
        for test_id, again in other.tests.items():
            test = self.tests.setdefault(test_id, dict(again, runs=["failed"] * self.runs()))
            runs = test["runs"] + again["runs"]
            seconds = (test["seconds"] * len(test["runs"]) + again["seconds"]) / len(runs)
            if again["outcome"] != "passed":
                test.update(outcome=again["outcome"], message=again["message"], internal=again["internal"])
            test.update(runs=runs, seconds=round(seconds, 3))
            if "passed" in runs and set(runs) != {"passed"}:
                test["outcome"] = "unsteady"
        self.problem = self.problem or other.problem
        self.seconds += other.seconds

    def runs(self):
        return max((len(test["runs"]) for test in self.tests.values()), default=0)


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends too
    tests_dir = options.checkout / "python" / "ray" / "tests"
    if not tests_dir.is_dir():
        sys.exit(f"run.py: {options.checkout} is no checkout of Ray: {tests_dir} does not exist")
    files = options.files or list(read_list("files.txt"))
    missing = [name for name in files if not (tests_dir / name).is_file()]
    if missing:
        sys.exit(f"run.py: not in {tests_dir}: {', '.join(missing)}")
    results = []
    for name in files:
        results.append(run_repeatedly(tests_dir, name, options))
        print_file(results[-1], options.verbose)
        if options.json:
            write_json(options.json, results)
    print_table(results)
    sys.exit(compare_with_known(results))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a checkout of github.com/ray-project/ray (or of a fork)")
    parser.add_argument("files", nargs="*", help="files of python/ray/tests (default: those of files.txt)")
    parser.add_argument("--json", type=Path, help="write every test's outcome to this file")
    parser.add_argument("-k", dest="keyword", help="only tests that match, as pytest's -k")
    parser.add_argument("--test-limit", type=float, default=60, metavar="S", help="seconds for one test (60)")
    parser.add_argument("--file-limit", type=float, default=1200, metavar="S", help="seconds for one file (1200)")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="run every file N times (1)")
    parser.add_argument("--build", type=Path, help="build tree (default: $RAY_ENGINE_BUILD, else build/release)")
    parser.add_argument(
        "--installed", action="store_true", help="run against the `ray` of this Python, to check the harness"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show why tests failed")
    return parser.parse_args()


def environment(options, run_dir):
    """PYTHONPATH holds the hook for every Python process, the engine, and its alias `ray`; PATH the program `ray`."""
    env = dict(os.environ)
    path = [str(HERE / "site")]
    if not options.installed:
        build = options.build or Path(env.get("RAY_ENGINE_BUILD") or REPOSITORY / "build" / "release")
        python = Path(build).resolve() / "python"
        path += [str(python), str(python / "ray_engine" / "_alias")]
        programs = [str(python / "ray_engine" / "_alias_programs"), str(python.parent / "bin")]
        env["PATH"] = os.pathsep.join([*programs, env.get("PATH", "")])
        env["RAY_ENGINE_PYTHON"] = sys.executable
    env["PYTHONPATH"] = os.pathsep.join(path + [p for p in [env.get("PYTHONPATH")] if p])
    env["RAY_CONFORMANCE_TESTS"] = str(run_dir)
    env["RAY_CONFORMANCE_PACKAGE"] = str((options.checkout / "python" / "ray").resolve())
    env["PYTHONFAULTHANDLER"] = "1"
    return env


def prepare_run_dir(tests_dir, run_dir):
    """Links the test files into a folder that is no package, without their conftest: they are plain modules there."""
    for entry in tests_dir.iterdir():
        if entry.name not in ("__init__.py", "conftest.py", "__pycache__"):
            (run_dir / entry.name).symlink_to(entry.resolve())
    (run_dir / "pytest.ini").write_text(PYTEST_INI)


def run_repeatedly(tests_dir, name, options):
    result = run_file(tests_dir, name, options)
    for _ in range(options.repeat - 1):
        result.merge(run_file(tests_dir, name, options))
    excluded = read_list("not_applicable.txt")
    for test_id in [test_id for test_id in result.tests if reason_for(excluded, test_id)]:
        result.not_applicable.append(test_id)
        del result.tests[test_id]
    return result


def run_file(tests_dir, name, options):
    result = FileResult(name)
    start = time.monotonic()
    run_dir = Path(tempfile.mkdtemp(prefix="ray-conformance-"))
    try:
        prepare_run_dir(tests_dir, run_dir)
        deadline = start + options.file_limit
        while run_once(name, options, run_dir, result, deadline):
            pass
    finally:
        shutil.rmtree(run_dir, ignore_errors=True)
    result.seconds = time.monotonic() - start
    return result


def run_once(name, options, run_dir, result, deadline):
    """One pytest process over the tests not yet done. Returns True if another one has to go on behind a lost test."""
    events_file, done_file, log_file = run_dir / "events.jsonl", run_dir / "done.json", run_dir / "pytest.log"
    done_file.write_text(json.dumps(list(result.tests)))
    events_file.write_text("")
    env = environment(options, run_dir)
    env.update(
        RAY_CONFORMANCE_EVENTS=str(events_file),
        RAY_CONFORMANCE_DONE=str(done_file),
        RAY_CONFORMANCE_TEST_LIMIT=str(options.test_limit),
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "ray_conformance.plugin",
        "-p",
        "ray_conformance.fixtures",
        "--noconftest",
        "--rootdir",
        run_dir,
        "-c",
        run_dir / "pytest.ini",
        run_dir / name,
    ]
    if options.keyword:
        command += ["-k", options.keyword]
    with open(log_file, "wb") as log:
        process = subprocess.Popen(
            command, cwd=run_dir, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        verdict = watch(process, events_file, options.test_limit + GRACE_S, deadline)
    finally:
        if process.poll() is None:
            kill(process)
    lost = take_events(events_file, result)
    return settle(result, process.returncode, verdict, lost, log_file)


def watch(process, events_file, limit_s, deadline):
    """Waits for the process. Returns "" when it ended by itself, else why it was killed."""
    size, last_news = 0, time.monotonic()
    while process.poll() is None:
        now, new_size = time.monotonic(), events_file.stat().st_size
        if new_size != size:
            size, last_news = new_size, now
        if now > deadline or now - last_news > limit_s:
            kill(process)
            return "the file's time limit" if now > deadline else "the test's time limit"
        time.sleep(0.05)
    return ""


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def take_events(events_file, result):
    """Enters what the process reported; returns the id of the test it was lost in, if any."""
    running = None
    for line in events_file.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "start":
            running = event["id"]
        elif event["event"] == "end":
            running = None
            result.add(event["id"], event["outcome"], event["seconds"], event["internal"], event["message"])
        elif event["event"] == "collect-error":
            result.problem = event["message"]
            result.add(event["id"], "error", internal=event["internal"], message=event["message"])
    return running


def settle(result, code, verdict, lost, log_file):
    if lost:
        cause = f"killed at {verdict}" if verdict else f"its process ended with {code}"
        result.add(lost, "failed", message=f"{cause}\n{tail(log_file)}")
        return verdict != "the file's time limit"
    if verdict or code not in (0, 1, 5):
        result.problem = result.problem or f"pytest ended with {code} {verdict}\n{tail(log_file)}"
        if not result.tests:
            result.add(result.name, "error", message=result.problem)
    return False


def tail(path, lines=15):
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def print_file(result, verbose):
    for test in result.tests.values():
        if test["outcome"] == "skipped":
            print(f"  skipped {test['id']}: {test['message']}")
        elif test["outcome"] != "passed":
            print(f"  {test['outcome']:8}{test['id']}" + ("  [internal]" if test["internal"] else ""))
            if verbose:
                print("    " + test["message"].replace("\n", "\n    "))
    if result.problem:
        print(f"  {result.name}: {result.problem}")
    sys.stdout.flush()


def print_table(results):
    width = max(len(result.name) for result in results)
    heads = [*OUTCOMES, "not applicable", "seconds"]
    print(f"\n{'file':{width}}  " + "  ".join(heads))
    for result in results:
        numbers = [*(result.count(outcome) for outcome in OUTCOMES), len(result.not_applicable), round(result.seconds)]
        cells = (f"{number:{len(head)}}" for head, number in zip(heads, numbers, strict=True))
        print(f"{result.name:{width}}  " + "  ".join(cells))
    used = Counter(name for result in results for test in result.tests.values() for name in test["internal"])
    if used:
        print(
            "\nmissing names that tests used: " + ", ".join(f"{name} ({count})" for name, count in used.most_common())
        )


def write_json(path, results):
    tests = [
        {key: test[key] for key in ("id", "outcome", "seconds", "runs")}
        for result in results
        for test in result.tests.values()
    ]
    path.write_text(json.dumps({"tests": tests}, indent=1) + "\n")


def read_list(name):
    """Lines of `name  reason`; a test id without its [parameters] stands for all of them."""
    listed = {}
    for line in (HERE / name).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            test_id, _, reason = line.partition(" ")
            listed[test_id] = reason.strip()
    return listed


def reason_for(listed, test_id):
    return listed.get(test_id) or listed.get(test_id.split("[")[0])


def compare_with_known(results):
    known = read_list("known_failures.txt")
    tests = [test for result in results for test in result.tests.values()]
    bad = [test["id"] for test in tests if test["outcome"] != "passed" and not reason_for(known, test["id"])]
    good = [test["id"] for test in tests if test["outcome"] == "passed" and test["id"] in known]
    if bad:
        print(f"\n{len(bad)} did not pass that known_failures.txt does not list:\n  " + "\n  ".join(bad))
    if good:
        print(f"\n{len(good)} pass that known_failures.txt lists:\n  " + "\n  ".join(good))
    totals = Counter(test["outcome"] for test in tests)
    share = 100 * totals["passed"] / max(1, len(tests))
    print("\n" + ", ".join(f"{totals[name]} {name}" for name in OUTCOMES) + f": {share:.1f} % passed")
    return 1 if bad else 0


if __name__ == "__main__":
    main()
