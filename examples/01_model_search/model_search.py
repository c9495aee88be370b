"""Searches the best classifier for handwritten digits: 65 configurations, each tried on 5 folds, as 325 tasks.

The 1,797 images are put into the object store once; every task reads that one copy. An actor keeps the leader board;
the tasks report to it from wherever they run. At the end there is a table, and an HDF5 file with every score.

mpirun -n 4 ray-engine model_search.py    or    srun ray-engine model_search.py    or    python model_search.py
"""

import argparse
import time
from itertools import product

import h5py
import numpy as np
import ray_engine as ray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits

FOLDS = 5
MODELS = {
    "support vectors": SVC,
    "nearest neighbours": KNeighborsClassifier,
    "extra trees": ExtraTreesClassifier,
    "naive Bayes": GaussianNB,
}


def configurations():
    """(model, parameters) of everything that is tried."""
    grid: list[tuple[str, dict]] = [
        ("support vectors", {"C": c, "gamma": 2.0**g}) for c, g in product((0.125, 0.5, 8, 32, 128), range(-13, -7))
    ]
    grid += [("support vectors", {"C": c, "kernel": "poly", "degree": d}) for c, d in product((0.125, 1, 8), (2, 3, 4))]
    grid += [
        ("nearest neighbours", {"n_neighbors": k, "weights": w})
        for k, w in product((1, 2, 3, 4, 5, 7, 9), ("uniform", "distance"))
    ]
    grid += [
        ("extra trees", {"max_depth": d, "max_features": f, "random_state": 0})
        for d, f in product((8, 12, None), (4, 8))
    ]
    return grid + [("naive Bayes", {"var_smoothing": v}) for v in (1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 1e-1)]


def load_data():
    """The images, their labels, and which rows train and test in each fold (always the same ones)."""
    images, labels = load_digits(return_X_y=True)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(images, labels)
    return {"images": images, "labels": labels, "folds": list(folds)}


def score(data, configuration, fold):
    """Trains on four fifths of the images, with one thread; returns the accuracy on the rest."""
    name, parameters = configuration
    images, labels = data["images"], data["labels"]
    train, test = data["folds"][fold]
    with threadpool_limits(limits=1):
        model = MODELS[name](**parameters).fit(images[train], labels[train])
        return model.score(images[test], labels[test])


@ray.remote
def try_fold(data, board, index, configuration, fold):
    accuracy = score(data, configuration, fold)
    ray.get(board.report.remote(index, fold, accuracy))


@ray.remote(num_cpus=0)
class LeaderBoard:
    """Every score so far: one row per configuration, one column per fold."""

    def __init__(self, configurations):
        self.scores = np.full((configurations, FOLDS), np.nan)

    def report(self, index, fold, accuracy):
        self.scores[index, fold] = accuracy

    def best(self):
        """(index, mean accuracy) of the best configuration whose folds are all in; None before there is one."""
        means = self.scores.mean(axis=1)
        return None if np.isnan(means).all() else (int(np.nanargmax(means)), float(np.nanmax(means)))

    def all_scores(self):
        return self.scores


def search(grid, data, console):
    """Runs all tasks, shows how far they are and who leads; returns the scores and the seconds it took."""
    start = time.perf_counter()
    shared = ray.put(data)
    board = LeaderBoard.remote(len(grid))
    waiting = [try_fold.remote(shared, board, i, c, fold) for i, c in enumerate(grid) for fold in range(FOLDS)]
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("model search", total=len(waiting))
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=min(8, len(waiting)))
            ray.get(ready)
            leader = ray.get(board.best.remote())
            text = f"best so far {leader[1]:.4f}" if leader else "model search"
            progress.update(bar, advance=len(ready), description=text)
    return ray.get(board.all_scores.remote()), time.perf_counter() - start


def seconds_in_one_process(grid, data):
    """What one process needs for the search: measured on the first fold of every configuration, times the folds."""
    start = time.perf_counter()
    for configuration in grid:
        score(data, configuration, fold=0)
    return (time.perf_counter() - start) * FOLDS


def print_table(grid, scores, console, rows=10):
    table = Table(title=f"the best {rows} of {len(grid)} configurations")
    for heading in ("accuracy", "spread", "model", "parameters"):
        table.add_column(heading)
    means, spreads = scores.mean(axis=1), scores.std(axis=1)
    for i in np.argsort(-means, kind="stable")[:rows]:
        name, parameters = grid[i]
        text = ", ".join(
            f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}" for key, value in parameters.items()
        )
        table.add_row(f"{means[i]:.4f}", f"{spreads[i]:.4f}", name, text)
    console.print(table)


def write_hdf5(path, grid, scores):
    with h5py.File(path, "w") as file:
        file["accuracy"] = scores
        file["accuracy"].attrs["rows"] = "configurations, as in /model and /parameters"
        file["accuracy"].attrs["columns"] = "folds"
        file["model"] = [name for name, _ in grid]
        file["parameters"] = [repr(parameters) for _, parameters in grid]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="model_search.h5", help="HDF5 file for the scores")
    options = parser.parse_args()
    console = Console(width=100)
    ray.init()
    grid, data = configurations(), load_data()
    nodes, cpus = len(ray.nodes()), ray.cluster_resources()["CPU"]
    print(f"{len(grid)} configurations x {FOLDS} folds on {len(data['labels'])} images; nodes: {nodes}, CPUs: {cpus:g}")
    scores, seconds = search(grid, data, console)
    print_table(grid, scores, console)
    write_hdf5(options.output, grid, scores)
    alone = seconds_in_one_process(grid, data)
    print(f"all scores: {options.output}")
    print(f"one process {alone:.1f} s (from a fifth of the work), here {seconds:.1f} s: speed-up {alone / seconds:.2f}")
    print(f"best accuracy {scores.mean(axis=1).max():.4f}")


if __name__ == "__main__":
    main()
