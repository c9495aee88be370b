"""The program that chaos strikes: rounds of tasks, nested tasks, objects, streams, actors and placement groups.

    program.py ADDRESS FOLDER SEED ROUNDS OBJECT_BYTES GIANT_BYTES

Everything may be retried without limit, and what actors know is kept in files of FOLDER. A round's result depends on
SEED and its number alone, so it can be compared with that of a run without faults. Each is printed as a line of JSON.
Where a store and the disk below it are full, the program gets the documented error, and asks again.
"""

import faulthandler
import json
import os
import random
import signal
import sys
import zlib

import numpy as np
import ray_engine as ray
from ray_engine.util.placement_group import placement_group, remove_placement_group
from ray_engine.util.scheduling_strategies import PlacementGroupSchedulingStrategy

FOR_EVER = {"max_retries": -1}
ACTOR_FOR_EVER = {"max_restarts": -1, "max_task_retries": -1}


PATTERN_BYTES = 1_000_003  # of which large values are made, since that many random numbers take long
NO_ROOM = (ray.exceptions.OutOfDiskError, ray.exceptions.ObjectStoreFullError)


def numbers(seed, size):
    pattern = np.random.default_rng(seed).integers(0, 256, min(size, PATTERN_BYTES), np.uint8)
    return np.resize(pattern, size)


def digest(array):
    return zlib.crc32(array)


@ray.remote(**FOR_EVER)
def make(seed, size):
    return numbers(seed, size)


@ray.remote(**FOR_EVER)
def mix(*arrays):
    total = arrays[0].copy()
    for array in arrays[1:]:
        total ^= array
    return total


@ray.remote(**FOR_EVER)
def check(array):
    return digest(array)


@ray.remote(**FOR_EVER)
def tree(depth, seed):
    """A tree of tasks, each of which waits for its children and for an object that it has put."""
    if depth == 0:
        return seed % 1009
    own = ray.put(numbers(seed, 200_000))
    children = [tree.remote(depth - 1, 3 * seed + i) for i in range(2)]
    return ray.get(check.remote(own)) + sum(ray.get(children))


@ray.remote(**FOR_EVER)
def boxed(seed, size):
    """References inside a value; they are owned here."""
    return [make.remote(seed, size), ray.put(seed)]


@ray.remote(num_returns="streaming", **FOR_EVER)
def stream(seed, count, size):
    for i in range(count):
        yield numbers(seed + i, size)


@ray.remote(num_cpus=0, **ACTOR_FOR_EVER)
class Ledger:
    """Adds each entry once, however often the call is repeated."""

    def __init__(self, path):
        self.path = path
        self.entries = {}
        if os.path.exists(path):
            with open(path) as file:
                self.entries = json.load(file)

    def add(self, key, amount):
        if str(key) not in self.entries:
            self.entries[str(key)] = int(amount)
            with open(self.path + ".new", "w") as file:
                json.dump(self.entries, file)
            os.replace(self.path + ".new", self.path)
        return self.entries[str(key)]

    def read(self):
        return [len(self.entries), sum(self.entries.values())]


@ray.remote(num_cpus=0, max_concurrency=4, **ACTOR_FOR_EVER)
class Pipe:
    """Passes arrays on, by calls that wait and by a stream."""

    async def turn(self, array):
        return array[::-1].copy()

    @ray.method(num_returns="streaming")
    async def pieces(self, array, count):
        for piece in np.array_split(array, count):
            yield digest(piece)


def giants(rng, size):
    """What moves between nodes in many pieces, and goes to disk for want of room."""
    made = [make.remote(rng.getrandbits(32), size) for _ in range(12)]
    mixed = [mix.remote(made[i], made[-1 - i]) for i in range(6)]
    return ray.get([check.remote(ref) for ref in [*mixed, *made]])


def objects(rng, size):
    """Large values that depend on each other, read late."""
    made = [make.remote(rng.getrandbits(32), size) for _ in range(6)]
    mixed = [mix.remote(made[i], made[i + 1]) for i in range(5)]
    top = mix.remote(*mixed)
    return [*ray.get([check.remote(ref) for ref in made]), digest(ray.get(top)), digest(ray.get(mixed[2]))]


def trees(rng, size):
    return ray.get([tree.remote(3, rng.getrandbits(20)) for _ in range(4)])


def many(rng, size):
    seeds = [rng.getrandbits(32) for _ in range(300)]
    refs = [check.remote(make.remote(seed, 300)) for seed in seeds]
    done, _ = ray.wait(refs, num_returns=len(refs))
    return sum(ray.get(done))


def boxes(rng, size):
    """What a lost task owned is lost with it: the documented OwnerDiedError, after which the program asks again."""
    seeds, results = [rng.getrandbits(32) for _ in range(4)], []
    boxes = [boxed.remote(seed, size // 4) for seed in seeds]
    for seed, box in zip(seeds, boxes, strict=True):
        while True:
            try:
                array, number = ray.get(ray.get(box))
                results += [digest(array), number]
                break
            except (ray.exceptions.OwnerDiedError, ray.exceptions.ReferenceCountingAssertionError):
                box = boxed.remote(seed, size // 4)
    return results


def streams(rng, size):
    running = [stream.remote(rng.getrandbits(30), 8, size // 8) for _ in range(3)]
    items = [list(generator) for generator in running]  # the last ones are read when the first may have been lost
    return [[digest(ray.get(ref)) for ref in refs] for refs in items]


def ledgers(rng, size, folder):
    books = [Ledger.remote(os.path.join(folder, f"{rng.getrandbits(64):x}")) for _ in range(2)]
    for key in range(60):
        books[key % 2].add.remote(key, check.remote(make.remote(rng.getrandbits(32), 100)))
    amounts = ray.get([books[key % 2].add.remote(key, 0) for key in range(60)])
    return [ray.get([book.read.remote() for book in books]), sum(amounts)]


def pipes(rng, size):
    pipe = Pipe.remote()
    arrays = [make.remote(rng.getrandbits(32), size // 4) for _ in range(4)]
    turned = [pipe.turn.remote(array) for array in arrays]
    pieces = [pipe.pieces.remote(array, 5) for array in turned]
    return [[ray.get(ref) for ref in piece] for piece in pieces]


def groups(rng, size, folder):
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="SPREAD")
    ray.get(group.ready())
    inside = [PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=i) for i in range(2)]
    tasks = [make.options(scheduling_strategy=inside[i % 2]).remote(rng.getrandbits(32), size // 8) for i in range(6)]
    path = os.path.join(folder, f"{rng.getrandbits(64):x}")
    book = Ledger.options(scheduling_strategy=inside[1]).remote(path)
    try:
        amounts = ray.get([book.add.remote(key, key * key) for key in range(10)])
        return [ray.get([check.remote(task) for task in tasks]), amounts, ray.get(book.read.remote())]
    finally:
        remove_placement_group(group)


def asked_until_there_is_room(part, seed, *words):
    while True:
        try:
            return part(random.Random(seed), *words)
        except NO_ROOM as error:
            print(f"part {part.__name__} again: {type(error).__name__}", file=sys.stderr, flush=True)


def one_round(seed, folder, size, giant):
    results = {}
    for part in (giants, objects, trees, many, boxes, streams, ledgers, pipes, groups):
        name = part.__name__
        words = [giant if part is giants else size] + ([folder] if part in (ledgers, groups) else [])
        print(f"part {name}", file=sys.stderr, flush=True)
        results[name] = asked_until_there_is_room(part, f"{seed}/{name}", *words)
    return results


def main(address, folder, seed, rounds, size, giant):
    faulthandler.register(signal.SIGUSR1)
    ray.init(address=address)
    for number in range(int(rounds)):
        result = one_round(f"{seed}/{number}", folder, int(size), int(giant))
        print(json.dumps({"round": number, "result": result}), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
