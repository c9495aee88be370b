"""Tasks: functions that run elsewhere. Counts primes in slices, in parallel, then sorts by recursion.

mpirun -n 2 ray-engine tasks.py      or      python tasks.py
"""

import os
import random

import ray_engine as ray


@ray.remote
def count_primes(begin, end):
    """An ordinary function; @ray.remote lets it run in another process."""
    count = sum(1 for n in range(max(begin, 2), end) if all(n % d for d in range(2, int(n**0.5) + 1)))
    return count, os.getpid()


@ray.remote
def add(*numbers):
    return sum(numbers)


@ray.remote(num_returns=2)
def split(values):
    """Two results: two references, which can go different ways."""
    pivot = values[len(values) // 2]
    return [v for v in values if v < pivot], [v for v in values if v >= pivot]


@ray.remote
def merge_sort(values):
    """Tasks may start tasks and wait for them; the CPU of one that waits is lent to others."""
    if len(values) < 500 or min(values) == max(values):
        return sorted(values)
    low, high = split.remote(values)
    return sum(ray.get([merge_sort.remote(low), merge_sort.remote(high)]), [])


@ray.remote
def divide(a, b):
    return a / b


def main():
    ray.init()

    # .remote() returns at once with a reference; ray.get waits for the value.
    slices = [count_primes.remote(begin, begin + 5000) for begin in range(0, 40000, 5000)]
    counts, pids = zip(*ray.get(slices), strict=True)
    print(f"primes below 40000: {sum(counts)}, counted outside of this process: {os.getpid() not in pids}")

    # A reference as an argument: the task starts when the value is there, and sees the value.
    total = add.remote(add.remote(1, 2), add.remote(3, 4))
    print(f"1 + 2 + 3 + 4 = {ray.get(total)}")

    numbers = random.Random(0).sample(range(100_000), 5000)
    print(f"sorted by tasks: {ray.get(merge_sort.remote(numbers)) == sorted(numbers)}")

    # An exception travels to whoever asks for the value, and is still a ZeroDivisionError.
    try:
        ray.get(divide.remote(1, 0))
    except ZeroDivisionError as error:
        print(f"the task failed: {type(error).__name__}")


if __name__ == "__main__":
    main()
