"""Objects: values in shared memory. A matrix is stored once and read by all workers without a copy.

mpirun -n 2 ray-engine objects.py      or      python objects.py
"""

import numpy as np
import ray_engine as ray


@ray.remote
def sum_of_squares(matrix, begin, end):
    """`matrix` is a view into the store: no copy was made, and it cannot be written to."""
    return float(np.square(matrix[begin:end]).sum()), matrix.flags.writeable


@ray.remote
def make_block(seed):
    return np.random.default_rng(seed).random((500, 500))


@ray.remote
def mean_of(references):
    """References inside a list are passed on as references: the task decides which values it wants, and when."""
    return float(np.mean([ray.get(reference).mean() for reference in references]))


def main():
    ray.init()

    matrix = np.arange(4_000_000, dtype=np.float64).reshape(2000, 2000)
    stored = ray.put(matrix)
    parts = ray.get([sum_of_squares.remote(stored, begin, begin + 250) for begin in range(0, 2000, 250)])
    total = sum(value for value, _ in parts)
    print(f"sum of squares is right: {np.isclose(total, np.square(matrix).sum())}")
    print(f"a worker may write into it: {any(writeable for _, writeable in parts)}")

    # What ray.get returns here is read-only too: change a copy, and store that.
    view = ray.get(stored)
    try:
        view[0, 0] = 1.0
    except ValueError as error:
        print(f"writing fails: {error}")
    changed = view.copy()
    changed[0, 0] = 1.0
    print(f"the copy has {ray.get(ray.put(changed))[0, 0]}, the stored one {ray.get(stored)[0, 0]}")

    # Results of tasks are objects as well: they stay where they were made until somebody needs them.
    blocks = [make_block.remote(seed) for seed in range(8)]
    print(f"mean of 8 blocks: {ray.get(mean_of.remote(blocks)):.3f}")

    # ray.wait: those that are ready first, without waiting for the rest.
    ready, pending = ray.wait(blocks, num_returns=3)
    print(f"{len(ready)} ready, {len(pending)} not asked for")


if __name__ == "__main__":
    main()
