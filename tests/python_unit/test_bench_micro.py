"""bench micro: what it says about peers, from figures."""

import importlib.util
import pathlib
import sys

import pytest

PERF = pathlib.Path(__file__).resolve().parents[1] / "perf"


@pytest.fixture(scope="module")
def bench():
    sys.path.insert(0, str(PERF))
    try:
        spec = importlib.util.spec_from_file_location("bench_micro", PERF / "bench_micro.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PERF))
    return module


def rows(bench, figures):
    return [bench.with_ratios(bench.line(metric, columns)) for metric, columns in figures.items()]


def test_geometric_mean_leaves_out_gigabytes(bench):
    found = bench.summary(
        rows(
            bench,
            {
                "single_client_tasks_sync": {"ray_engine": [400, 100, 300], "ray": [1]},
                "1_1_actor_calls_sync": {"ray_engine": [30], "ray": [10]},
                "single_client_put_gigabytes": {"ray_engine": [1000], "ray": [1]},
            },
        )
    )
    assert found["geometric_mean_over_ray"]["lines"] == 2
    assert found["geometric_mean_over_ray"]["value"] == pytest.approx(30)
    assert list(found["under_least_aim"]) == ["1_1_actor_calls_sync"]


def test_the_best_peer_is_none_of_the_bare_programs(bench):
    figures = {"ray_engine": [5], "mppool": [6], "dask": [4], "limit": [100], "ring": [1000]}
    (row,) = rows(bench, {"single_client_tasks_sync": figures})
    assert row["over_best"] == pytest.approx(5 / 6)
    assert bench.summary([row])["behind_best_peer"] == {"single_client_tasks_sync": "mppool"}


def test_without_peers_nothing_is_compared(bench):
    assert bench.summary(rows(bench, {"single_client_tasks_sync": {"ray_engine": [5]}})) == {}


def test_a_peer_that_fails_is_named_once_and_not_tried_again(bench, monkeypatch, capsys):
    runs = []

    def fail(only):
        runs.append(only)
        raise bench.peers.CannotMeasure("no such package")

    monkeypatch.setitem(bench.COMMANDS, "dask", [fail])
    measurement = bench.Measurement("")
    measurement.run("dask")
    measurement.run("dask")
    assert runs == [""]
    assert capsys.readouterr().err == "not measured: dask: no such package\n"
