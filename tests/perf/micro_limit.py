"""What two bare Python processes can do: pickle a call, pass it through a spinning shared-memory ring, call, pickle the reply.
No ids, no ownership, no futures. Prints {"metric": figure} as JSON."""

import json
import mmap
import os
import pickle
import struct
import time

SLOTS, SLOT = 1024, 256


class Ring:
    """Single producer, single consumer; the counters lie in shared memory, a slot holds one message."""

    def __init__(self):
        self.memory = mmap.mmap(-1, 128 + SLOTS * SLOT)
        self.view = memoryview(self.memory)
        self.counters = self.view[:16].cast("Q")
        self.mine = 0

    def send(self, data):
        while self.mine - self.counters[1] >= SLOTS:
            os.sched_yield()
        at = 128 + self.mine % SLOTS * SLOT
        self.view[at : at + 4] = struct.pack("I", len(data))
        self.view[at + 4 : at + 4 + len(data)] = data
        self.mine += 1
        self.counters[0] = self.mine

    def poll(self):
        if self.counters[0] == self.mine:
            return None
        at = 128 + self.mine % SLOTS * SLOT
        size = struct.unpack("I", self.view[at : at + 4])[0]
        data = bytes(self.view[at + 4 : at + 4 + size])
        self.mine += 1
        self.counters[1] = self.mine
        return data

    def receive(self):
        spins = 0
        while (data := self.poll()) is None:
            spins += 1
            if spins % 20 == 0:
                os.sched_yield()
        return data


def small_value():
    return b"ok"


def serve(calls, replies):
    while (call := pickle.loads(calls.receive())) is not None:
        number, args = call
        replies.send(pickle.dumps((number, small_value(*args))))
    os._exit(0)


def main():
    calls, replies = Ring(), Ring()
    if os.fork() == 0:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        serve(calls, replies)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

    def sync():
        calls.send(pickle.dumps((0, ())))
        pickle.loads(replies.receive())

    def batch():
        for number in range(1000):
            calls.send(pickle.dumps((number, ())))
        for _ in range(1000):
            pickle.loads(replies.receive())

    results = {}
    for metrics, function, unit in ((("single_client_tasks_sync", "1_1_actor_calls_sync"), sync, 1),
                                    (("single_client_tasks_async", "1_1_actor_calls_async"), batch, 1000)):  # fmt: skip
        count, start = 0, time.perf_counter()
        while time.perf_counter() - start < 1:
            function()
            count += 1
        for metric in metrics:
            results[metric] = unit * count / (time.perf_counter() - start)
    calls.send(pickle.dumps(None))
    os.wait()
    print("RESULT " + json.dumps(results))


main()
