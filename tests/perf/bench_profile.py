"""Where the time of one call goes: a budget in microseconds per step, by `perf record` of caller and worker while
calls of an empty function, or method, follow one another.

Both processes have a CPU of their own and spin while they wait, so a process's steps and its waiting make up the
round trip. A sample counts for the innermost function on its stack that is a step (STEPS below); what belongs to
none is `other`. Needs Linux's perf and the right to use it. `--symbols N` also prints the N functions that took
most.
"""

import argparse
import collections
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import programs
import report

WORKLOAD = pathlib.Path(__file__).resolve().parent / "profile_workload.py"
KINDS = ("task", "method")
HERTZ, SECONDS = 2000, 4
STEPS = {  # of a process, innermost first; a pattern is looked for in the names on a stack
    "caller": {
        "waits": r"Runtime::(Spin|Sleep|LeaveProgress)\b|gil_scoped",
        "writes the ring": r"\bLink::|LinkChannel::Send|RingWriter",
        "reply: ends the record": r"Runtime::OnTaskDone",
        "reply: reads the ring": r"Runtime::(Drain|Progress)\b",
        "remote(): record and references": r"Runtime::Submit",
        "remote(): arguments": r"(Task|Method)Caller|CallSlot",
        "get(): frees the object": r"Runtime::Drop|ObjectRef::~ObjectRef|inst_dealloc",
        "get(): looks whether it is there": r"Runtime::Wait(For|Objects)\b|python::WaitFor",
        "get(): reads the value": r"\bGetOne\b|DecodeValue|\bGet\b",
        "Python: the loop": r"_PyEval_",
    },
    "worker": {
        "waits": r"Runtime::(Spin|Sleep|LeaveProgress)\b|gil_scoped",
        "writes the ring": r"\bLink::Send|LinkChannel::Send|RingWriter",
        "reads the ring, queues the task": r"Runtime::(Drain|Progress)\b",
        "reply: values and header": r"Runtime::FinishTask",
        "arguments: references": r"Runtime::ReceiveArgs",
        "calls the function": r"_PyEval_",
        "prepares and ends the call": r"RunTask|Execution::",
        "takes the task": r"Runtime::(NextTask|WaitFor)|RunWorker",
    },
}


def perf(*words):
    done = subprocess.run(["perf", *words], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit(f"perf {words[0]} failed: {done.stderr.strip()}")
    return done.stdout


def record(kind, folder):
    """({process: pid}, seconds per call, perf's samples as text)"""
    data = f"{folder}/perf.data"
    with programs.Program([sys.executable, WORKLOAD, kind, SECONDS + 2]) as program:
        pids = program.result()
        sampling = ["-e", "cpu-clock", "-F", str(HERTZ), "--call-graph", "dwarf,4096"]
        both = ",".join(str(pid) for pid in pids.values())
        perf("record", "-q", "-o", data, *sampling, "-p", both, "--", "sleep", str(SECONDS))
        result = program.result()
    return pids, result["seconds"] / result["calls"], perf("script", "-i", data, "-F", "pid,tid,ip,sym")


def stacks(text, pid):
    """Those of the main thread of a process: function names, innermost first."""
    for block in text.split("\n\n"):
        head, *frames = block.strip("\n").split("\n")
        if head.strip() == f"{pid}/{pid}":
            yield [frame.split(maxsplit=1)[-1] for frame in frames]


def step_of(names, steps):
    for name in names:
        for step, pattern in steps.items():
            if re.search(pattern, name):
                return step
    return "other"


def print_symbols(process, all_stacks, number):
    leaves = collections.Counter(names[0] for names in all_stacks if names)
    for name, count in leaves.most_common(number):
        print(f"  {process:8}{count / leaves.total():6.1%}  {name[:110]}")


def profile(kind, symbols):
    """{(process, step): microseconds per call}, and the round trip."""
    with tempfile.TemporaryDirectory() as folder:
        pids, seconds, text = record(kind, folder)
    budget, sample_us = {}, 1e6 * seconds / (HERTZ * SECONDS)  # of one call
    for process, steps in STEPS.items():
        found = list(stacks(text, pids[process]))
        if not found:
            sys.exit(f"perf has no samples of the {process}")
        counts = collections.Counter(step_of(names, steps) for names in found)
        budget.update({(process, step): sample_us * counts[step] for step in [*steps, "other"]})
        budget[process, "off CPU"] = 1e6 * seconds - sample_us * counts.total()
        if symbols:
            print_symbols(process, found, symbols)
    return budget, 1e6 * seconds


def rows_of(kind, rounds, symbols):
    figures, trips = {}, []
    for _ in range(rounds):
        budget, trip = profile(kind, symbols)
        trips.append(trip)
        for step, cost in budget.items():
            figures.setdefault(step, []).append(cost)
    rows = [report.row(f"{kind}: round trip", "us", "lower", {"ray_engine": trips})]
    for (process, step), costs in figures.items():
        rows.append(report.row(f"{kind}, {process}: {step}", "us", "lower", {"ray_engine": costs}))
    return rows


def arguments():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--symbols", type=int, default=0)
    own, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    args = report.parse(__doc__ + "\nOwn option: --symbols N. --only takes task, method.", [])
    args.symbols = own.symbols
    return args


def main():
    if shutil.which("perf") is None:
        sys.exit("bench profile needs perf (the package linux-perf)")
    args = arguments()
    kinds = args.only.split(",") if args.only else KINDS
    report.finish([row for kind in kinds for row in rows_of(kind, args.rounds, args.symbols)], args)


main()
