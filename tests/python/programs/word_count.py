"""A program of multiprocessing: only the import of Pool is another."""

import collections
import re

from ray.util.multiprocessing import Pool

TEXT = """the pool hands out pieces of the text, and each process counts the words of its piece;
what comes back is added up, and the words that are there most often are shown"""


def count(line):
    return collections.Counter(re.findall(r"\w+", line))


if __name__ == "__main__":
    with Pool(2) as pool:
        total = sum(pool.imap_unordered(count, TEXT.split(",") * 10), collections.Counter())
        by_map = sum(pool.map(count, TEXT.split(",") * 10, chunksize=4), collections.Counter())
        squares = pool.starmap(pow, [(x, 2) for x in range(10)])
    print("most often:", total.most_common(1)[0])
    print("the same:", total == by_map, "squares:", sum(squares))
