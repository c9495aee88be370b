"""Output: how a worker names its lines, and how the driver shows them."""

import io
import sys

from ray_engine import _core
from ray_engine._private import worker_output
from ray_engine._private.output import driver_line


def test_driver_shows_every_line_with_its_prefix(capsys):
    driver_line(False, "(f pid=7, ip=10.0.0.1)", "one\ntwo\n")
    driver_line(True, "(scheduler)", "waits")
    captured = capsys.readouterr()
    assert captured.out == "(f pid=7, ip=10.0.0.1) one\n(f pid=7, ip=10.0.0.1) two\n"
    assert captured.err == "(scheduler) waits\n"


def test_driver_does_without_a_stream(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    driver_line(False, "(f)", "lost")


def test_worker_names_what_it_runs_when_that_changes(monkeypatch):
    names = iter(["f", "f", "f", "f", "g", "g", None])
    monkeypatch.setattr(_core, "current_task", lambda: (name := next(names)) and {"name": name})
    raw = io.BytesIO()
    stream = worker_output._TitledStream(raw, encoding="utf-8", line_buffering=True)
    print("a", file=stream)
    print("b", file=stream)
    print("c", file=stream)
    stream.write("d\n")
    assert raw.getvalue().decode() == ":task_name:f\na\nb\n:task_name:g\nc\nd\n"
