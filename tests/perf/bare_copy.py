"""What bounds puts of zeros: copies between memory that is used already. One process copies 800 MB; two, as many as
put, each make 80 MiB of zeros and copy them, over and over. Prints RESULT with gigabytes per second."""

import json
import os
import time

import numpy as np

SECONDS = float(os.environ.get("BENCH_SECONDS", "1"))
PROCESSES = 2


def per_second(step, seconds):
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        step()
        count += 1
    return count / elapsed


def one_copies():
    source, target = np.zeros(100 << 20, np.int64), np.ones(100 << 20, np.int64)
    per_second(lambda: np.copyto(target, source), SECONDS / 4)  # warms up
    return 0.8 * per_second(lambda: np.copyto(target, source), SECONDS)


def zeros_and_copy(pipe):
    target = np.ones(10 << 20, np.int64)

    def step():
        np.copyto(target, np.zeros(10 << 20, np.int64))

    per_second(step, SECONDS / 4)
    os.write(pipe, f"{0.08 * per_second(step, SECONDS)}\n".encode())


def several_copy():
    reader, writer = os.pipe()
    for _ in range(PROCESSES):
        if os.fork() == 0:
            zeros_and_copy(writer)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        figures = [float(line) for line in pipe]
    for _ in range(PROCESSES):
        os.wait()
    assert len(figures) == PROCESSES
    return sum(figures)


print(
    "RESULT",
    json.dumps({"single_client_put_gigabytes": one_copies(), "multi_client_put_gigabytes": several_copy()}),
    flush=True,
)
