"""A program that has run tasks and an actor and then does nothing, in two ways of IDLE_SECONDS each: the driver sleeps,
and the driver waits for a method that sleeps. MODULE (the argument) is what is imported as ray."""

import importlib
import json
import os
import sys
import time

ray = importlib.import_module(sys.argv[1])
SECONDS = float(os.environ["IDLE_SECONDS"])


@ray.remote
def task():
    time.sleep(0.001)
    return os.getpid()


@ray.remote
class Actor:
    def where(self):
        return os.getpid()

    def sleep(self, seconds):
        time.sleep(seconds)


def begin(phase, **values):
    print("RESULT " + json.dumps({"phase": phase, **values}), flush=True)


def main():
    ray.init()
    actor = Actor.remote()
    workers = {ray.get(actor.where.remote()), *ray.get([task.remote() for _ in range(500)])}
    begin("idle", workers=sorted(workers))
    time.sleep(SECONDS)
    begin("waiting")
    ray.get(actor.sleep.remote(SECONDS))
    ray.shutdown()


main()
