"""A program that shows its progress with tqdm while tasks get ready."""

import sys

import ray
from tqdm import tqdm


@ray.remote
def triple(x):
    return 3 * x


def as_they_come(refs):
    while refs:
        ready, refs = ray.wait(refs)
        yield ray.get(ready[0])


ray.init()
refs = [triple.remote(x) for x in range(40)]
print("total:", sum(tqdm(as_they_come(refs), total=len(refs), file=sys.stdout)))
