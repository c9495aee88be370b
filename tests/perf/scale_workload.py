"""Runs one task, says so, then as many as are counted, says how many messages the driver has sent and received for
each, and stays for a second, so that its engines can be looked at."""

import json
import re
import time

import ray_engine as ray
from ray_engine import _core

TASKS = 2000


@ray.remote
def small_value():
    return b"ok"


def frames():
    """Sent and received by this process."""
    return sum(map(int, re.search(r"frames sent (\d+) received (\d+)", _core.stats()).groups()))


def run_tasks():
    ray.get([small_value.remote() for _ in range(TASKS)])


ray.init()
assert ray.get(small_value.remote()) == b"ok"
print("RESULT " + json.dumps({}), flush=True)
run_tasks()  # so workers are there on all nodes
before = frames()
run_tasks()
print("RESULT " + json.dumps({"messages": (frames() - before) / TASKS}), flush=True)
time.sleep(1)
