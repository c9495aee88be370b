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


def _titled(raw):
    return worker_output._TitledStream(raw, encoding="utf-8", line_buffering=True)


def test_worker_ends_an_open_line_before_the_next_name_which_both_streams_carry(monkeypatch):
    running = {"name": "f"}
    monkeypatch.setattr(_core, "current_task", lambda: running)
    raw_out, raw_err = io.BytesIO(), io.BytesIO()
    out, err = _titled(raw_out), _titled(raw_err)
    monkeypatch.setattr(worker_output, "_streams", [out, err])
    print("no end", end="", file=out)
    running["name"] = "g"
    print("c", file=out)
    assert raw_out.getvalue().decode() == ":task_name:f\nno end\n:task_name:g\nc\n"
    assert raw_err.getvalue().decode() == ":task_name:f\n:task_name:g\n"
    err.close()
    running["name"] = "h"
    print("d", file=out)
    assert raw_out.getvalue().decode().endswith("c\n:task_name:h\nd\n")


def test_worker_names_what_it_runs_when_that_changes(monkeypatch):
    names = iter(["f", "f", "f", "f", "g", "g", None])
    monkeypatch.setattr(_core, "current_task", lambda: (name := next(names)) and {"name": name})
    raw = io.BytesIO()
    stream = _titled(raw)
    monkeypatch.setattr(worker_output, "_streams", [stream])
    print("a", file=stream)
    print("b", file=stream)
    print("c", file=stream)
    stream.write("d\n")
    assert raw.getvalue().decode() == ":task_name:f\na\nb\n:task_name:g\nc\nd\n"
