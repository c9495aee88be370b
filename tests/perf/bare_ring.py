"""Two bare Python processes over the ring of bare_ring.cc: pickle a call, send it, call, pickle the reply, send it
back. No ids, no ownership, no futures. Prints RESULT like bare_ring."""

import json
import os
import pickle
import time

from bare_ring_module import Ring, RingEnd

SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))


def small_value():
    return b"ok"


def serve(end):
    while (call := pickle.loads(end.receive())) is not None:
        number, args = call
        end.send(pickle.dumps((number, small_value(*args))))


def call(end, count):
    """`count` calls, then their replies."""
    for number in range(count):
        end.send(pickle.dumps((number, ())))
    for _ in range(count):
        pickle.loads(end.receive())


def calls_per_second(end, outstanding, seconds):
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        call(end, outstanding)
        calls += outstanding
    return calls / elapsed


def main():
    ring = Ring()
    cpus = os.sched_getaffinity(0)
    if os.fork() == 0:
        os.sched_setaffinity(0, {max(cpus)})
        serve(RingEnd(ring, 1))
        os._exit(0)
    os.sched_setaffinity(0, {min(cpus)})
    caller = RingEnd(ring, 0)
    calls_per_second(caller, 1, SECONDS / 4)  # warms up
    results = {
        "one_by_one": calls_per_second(caller, 1, SECONDS),
        "outstanding_1000": calls_per_second(caller, 1000, SECONDS),
    }
    caller.send(pickle.dumps(None))
    os.wait()
    print("RESULT " + json.dumps(results))


main()
