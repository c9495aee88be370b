"""What workers print appears at the driver, with their name, line by line and in order."""

import re
import subprocess
import sys

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run_driver(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return ANSI.sub("", done.stdout), ANSI.sub("", done.stderr)


def test_prefix_of_a_task():
    out, err = run_driver("""
import os, sys
import ray_engine as ray

@ray.remote
def speaks():
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return os.getpid()

ray.init(num_cpus=1)
print("pid", ray.get(speaks.remote()))
""")
    pid = re.search(r"^pid (\d+)$", out, re.M)[1]
    assert re.search(rf"^\(speaks pid={pid}\b.*\) to stdout$", out + err, re.M)
    assert re.search(rf"^\(speaks pid={pid}\b.*\) to stderr$", err, re.M)


def test_prefix_of_an_actor():
    out, err = run_driver("""
import ray_engine as ray

@ray.remote
class Speaker:
    def __init__(self):
        print("hello")

    def speak(self):
        print("again")

ray.init(num_cpus=1)
ray.get(Speaker.remote().speak.remote())
""")
    assert re.findall(r"^\(Speaker pid=\d+\b.*\) (.*)$", out + err, re.M) == ["hello", "again"]


def test_an_open_line_is_not_mixed_with_the_next_task():
    out, err = run_driver("""
import sys
import ray_engine as ray

@ray.remote
def g(i):
    print("from g", i, end="")
    sys.stderr.write(f"err g {i}")

@ray.remote
def h(i):
    print("from h", i)
    print("err h", i, file=sys.stderr)

ray.init(num_cpus=1)
for i in range(20):
    ray.get(g.remote(i))
    ray.get(h.remote(i))
""")
    for text, what in ((out, "from"), (err, "err")):
        lines = re.findall(rf"^\((\w+) pid=\d+\b.*\) {what} (.*)$", text, re.M)
        assert lines == [(name, f"{name} {i}") for i in range(20) for name in ("g", "h")], text
    assert "task_name" not in out + err


def test_lines_of_one_worker_stay_in_order():
    out, err = run_driver("""
import ray_engine as ray

@ray.remote
class Counter:
    def count(self):
        for i in range(500):
            print("line", i)

ray.init(num_cpus=1)
ray.get(Counter.remote().count.remote())
""")
    assert re.findall(r"\) line (\d+)$", out + err, re.M) == [str(i) for i in range(500)]


def test_output_before_a_crash_is_not_lost():
    out, err = run_driver("""
import os
import ray_engine as ray

@ray.remote(max_retries=0)
def last_words():
    print("last words", flush=True)
    os._exit(1)

ray.init(num_cpus=1)
try:
    ray.get(last_words.remote())
except ray.exceptions.WorkerCrashedError:
    print("crashed")
""")
    assert "crashed" in out
    assert "last words" in out + err


def test_output_can_be_kept_away():
    out, err = run_driver("""
import ray_engine as ray

@ray.remote
def speaks():
    print("not to be seen")

ray.init(num_cpus=1, log_to_driver=False)
ray.get(speaks.remote())
""")
    assert "not to be seen" not in out + err


def test_an_open_line_shows_when_its_worker_has_nothing_to_do():
    out, _ = run_driver("""
import io, sys, time
import ray_engine as ray

@ray.remote
class Counter:
    def count(self):
        print(1, end=" ")
        print(2, end=" ")

class Screen(io.StringIO):
    def isatty(self):
        return False

ray.init(num_cpus=1)
terminal, sys.stdout = sys.stdout, Screen()
counter = Counter.remote()
ray.get(counter.count.remote())
limit = time.monotonic() + 60
while "1 2" not in sys.stdout.getvalue() and time.monotonic() < limit:
    time.sleep(0.01)
terminal.write(sys.stdout.getvalue())
""")
    assert re.search(r"^\(Counter pid=\d+\b.*\) 1 2 $", out, re.M), out


def test_output_can_be_kept_away_by_a_variable(monkeypatch):
    monkeypatch.setenv("RAY_LOG_TO_DRIVER", "0")
    out, err = run_driver("""
import ray_engine as ray
ray.init(num_cpus=1)
ray.get(ray.remote(lambda: print("from a task")).remote())
print("from the driver")
""")
    assert "from the driver" in out and "from a task" not in out + err
