#!/usr/bin/env python3
"""Writes the table of docs/ray_compatibility.md from the results of run.py.

    report.py RESULTS.json...

The table stands between two comments in that file; the text around it is written by hand. Reasons come from
known_failures.txt.
"""

import argparse
import json
from collections import Counter, defaultdict
from pathlib import Path

from run import REPOSITORY, read_list, reason_for

PAGE = REPOSITORY / "docs" / "ray_compatibility.md"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="files that run.py --json has written")
    tests = []
    for path in parser.parse_args().results:
        tests += json.loads(path.read_text())["tests"]
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table(tests)}\n\n{failures(tests)}\n{END}{rest.split(END)[1]}")


def table(tests):
    by_file = defaultdict(Counter)
    for test in tests:
        by_file[test["id"].partition("::")[0]][test["outcome"]] += 1
    order = list(read_list("files.txt"))
    lines = ["| file | passed | of |", "| --- | ---: | ---: |"]
    for name in sorted(by_file, key=lambda name: order.index(name) if name in order else len(order)):
        lines.append(f"| {name} | {by_file[name]['passed']} | {sum(by_file[name].values())} |")
    passed = sum(counts["passed"] for counts in by_file.values())
    lines.append(f"| **all** | **{passed}** | **{len(tests)}** |")
    return "\n".join(lines)


def failures(tests):
    known = read_list("known_failures.txt")
    lines = ["What does not pass, and why:", ""]
    for test in tests:
        if test["outcome"] != "passed":
            lines.append(f"- `{test['id']}`: {reason_for(known, test['id']) or 'not yet looked into'}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
