"""The shortest program: from ray.init() to the first result. MODULE (the argument) is what is imported as ray."""

import importlib
import json
import sys
import time

ray = importlib.import_module(sys.argv[1])


@ray.remote
def small_value():
    return b"ok"


start = time.perf_counter()
ray.init()
assert ray.get(small_value.remote()) == b"ok"
print("RESULT " + json.dumps({"solo_first_task_s": time.perf_counter() - start}), flush=True)
