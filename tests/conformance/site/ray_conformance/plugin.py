"""pytest plugin of the conformance run: reports starts and ends of tests, limits their time, leaves out done ones."""

import json
import os
import re
import signal

import pytest

LIMIT_S = float(os.environ.get("RAY_CONFORMANCE_TEST_LIMIT", "60"))
MISSING = re.compile(r"InternalNotServed: ([\w.]+)")


class TimeLimit(Exception):
    """A test ran longer than its limit."""


def pytest_configure(config):
    config.pluginmanager.register(Progress(os.environ["RAY_CONFORMANCE_EVENTS"]))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    with open(os.environ["RAY_CONFORMANCE_DONE"]) as file:
        done = set(json.load(file))
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
    items[:] = [item for item in items if item.nodeid not in done]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    def on_alarm(signum, frame):
        raise TimeLimit(f"{item.nodeid} ran longer than {LIMIT_S:.0f} s")

    before = signal.signal(signal.SIGALRM, on_alarm)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class Progress:
    """Appends one JSON line per start and end of a test to a file that the parent process reads."""

    def __init__(self, path):
        self.file = open(path, "a", buffering=1)
        self.reports = {}

    def write(self, event, test_id, **values):
        self.file.write(json.dumps({"event": event, "id": test_id, **values}) + "\n")

    def pytest_runtest_logstart(self, nodeid):
        self.reports[nodeid] = []
        self.write("start", nodeid)

    def pytest_runtest_logreport(self, report):
        self.reports[report.nodeid].append(report)
        if report.when == "teardown":
            reports = self.reports.pop(report.nodeid)
            message = "\n".join(text(report) for report in reports if not report.passed)
            self.write(
                "end",
                report.nodeid,
                outcome=outcome(reports),
                seconds=sum(r.duration for r in reports),
                message=message[-4000:],
                internal=missing_names(message),
            )

    def pytest_collectreport(self, report):
        if report.failed:
            message = report.longreprtext
            self.write("collect-error", report.nodeid, message=message[-4000:], internal=missing_names(message))


def text(report):
    """Why a test failed, or was skipped."""
    return str(report.longrepr[2]) if report.skipped and isinstance(report.longrepr, tuple) else report.longreprtext


def outcome(reports):
    for report in reports:
        if report.failed:
            return "failed" if report.when == "call" else "error"
    return "skipped" if any(report.skipped for report in reports) else "passed"


def missing_names(message):
    return sorted(set(MISSING.findall(message)))
