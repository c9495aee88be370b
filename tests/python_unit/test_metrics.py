"""Metrics: checks of names, tags and values, and what snapshot() shows."""

import pickle

import pytest
from ray_engine.util.metrics import Counter, Gauge, Histogram, Metric, snapshot


def values_of(name):
    return {tuple(sorted(item["tags"].items())): item["value"] for item in snapshot() if item["name"] == name}


def test_a_counter_adds_up_by_tags():
    counter = Counter("requests", "so many", tag_keys=("route",))
    counter.inc(tags={"route": "a"})
    counter.inc(2.5, tags={"route": "a"})
    counter.inc(tags={"route": "b", "more": "x"})
    assert values_of("requests") == {(("route", "a"),): 3.5, (("more", "x"), ("route", "b")): 1.0}


def test_metrics_of_one_name_share_values():
    Counter("shared").inc()
    Counter("shared").inc()
    assert values_of("shared") == {(): 2.0}


def test_a_gauge_keeps_the_last_value():
    gauge = Gauge("level")
    gauge.set(4)
    gauge.set(3)
    gauge.set(None)
    assert values_of("level") == {(): 3}


def test_a_histogram_counts_by_boundaries():
    histogram = Histogram("seconds", boundaries=[1.0, 10.0])
    for value in (0.5, 1.0, 2, 100):
        histogram.observe(value)
    assert values_of("seconds") == {(): {"count": 4, "sum": 103.5, "buckets": [2, 1, 1]}}


def test_default_tags():
    counter = Counter("tagged", tag_keys=("a", "b"))
    assert counter.set_default_tags({"a": "1"}) is counter
    counter.inc(tags={"b": "2"})
    counter.inc(tags={"a": "3", "b": "2"})
    assert set(values_of("tagged")) == {(("a", "1"), ("b", "2")), (("a", "3"), ("b", "2"))}
    with pytest.raises(ValueError, match=r"Missing value for tag key\(s\): b"):
        counter.inc()


def test_info():
    histogram = Histogram("told", "about", boundaries=[1.0], tag_keys=("a",)).set_default_tags({"a": "b"})
    assert histogram.info == {
        "name": "told",
        "description": "about",
        "tag_keys": ("a",),
        "default_tags": {"a": "b"},
        "boundaries": [1.0],
    }


def test_a_metric_travels_without_its_values():
    sent = Histogram("sent", boundaries=[1.0], tag_keys=("a",)).set_default_tags({"a": "b"})
    assert pickle.loads(pickle.dumps(sent)).info == sent.info


@pytest.mark.parametrize(
    "make, error",
    [
        (lambda: Counter(""), ValueError),
        (lambda: Counter("x", tag_keys="a"), TypeError),
        (lambda: Counter("x", tag_keys=(1,)), TypeError),
        (lambda: Histogram("x"), ValueError),
        (lambda: Histogram("x", boundaries=[0, 1]), ValueError),
        (lambda: Counter("x").inc(0), ValueError),
        (lambda: Counter("x").inc("1"), TypeError),
        (lambda: Gauge("x").set("1"), TypeError),
        (lambda: Gauge("x").set(1, tags={"a": 1}), TypeError),
        (lambda: Counter("x").set_default_tags({"a": "1"}), ValueError),
        (lambda: Counter("x", tag_keys=("a",)).set_default_tags({"a": 1}), TypeError),
    ],
)
def test_wrong_use_is_refused(make, error):
    with pytest.raises(error):
        make()


@pytest.mark.parametrize("name", ["with-dashes", "1starts", "with.dots"])
def test_values_under_invalid_names_are_not_kept(name):
    with pytest.warns(UserWarning, match="Invalid metric name"):
        metric = Counter(name)
    metric.inc()
    assert values_of(name) == {}
    with pytest.warns(FutureWarning):
        Metric("a:b")
