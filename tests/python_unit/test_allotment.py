"""What a worker makes of the units and CPUs it was given: ids and environment variables."""

import os

import pytest
from ray_engine._private import allotment, lifecycle

FAMILIES = {
    "GPU": "CUDA_VISIBLE_DEVICES",
    "neuron_cores": "NEURON_RT_VISIBLE_CORES",
    "TPU": "TPU_VISIBLE_CHIPS",
    "NPU": "ASCEND_RT_VISIBLE_DEVICES",
    "HPU": "HABANA_VISIBLE_MODULES",
}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in (*FAMILIES.values(), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "")  # so that it is put back at the end
        monkeypatch.delenv(name)
    monkeypatch.setattr(allotment, "_visible", {})
    monkeypatch.setattr(allotment, "_units", {})
    monkeypatch.setattr(allotment, "_sets_threads", False)


@pytest.mark.parametrize(("resource", "variable"), FAMILIES.items())
def test_units_show_as_ids_and_in_the_variable(resource, variable):
    allotment.begin({resource: [1, 3]}, False)
    assert allotment.ids(resource) == [1, 3]
    assert allotment.all_ids()[resource] == ["1", "3"]
    assert os.environ[variable] == "1,3"
    assert not any(other in os.environ for other in set(FAMILIES.values()) - {variable})


def test_units_are_places_in_what_the_node_sees(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8e,5")
    allotment.begin({"GPU": [1, 2]}, False)
    assert allotment.ids("GPU") == ["GPU-8e", "5"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-8e,5"


def test_a_runtime_env_may_show_less_than_the_node_has(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    allotment.begin({"GPU": [2]}, False)
    assert allotment.ids("GPU") == ["0"]


def test_without_units_nothing_is_touched(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    allotment.begin({}, False)
    assert (allotment.ids("GPU"), os.environ["CUDA_VISIBLE_DEVICES"]) == ([], "0,1")
    assert "TPU_VISIBLE_CHIPS" not in os.environ


def test_without_units_nothing_is_visible_if_that_is_asked_for(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    allotment.begin({"TPU": [0]}, False)
    assert (os.environ["CUDA_VISIBLE_DEVICES"], os.environ["TPU_VISIBLE_CHIPS"]) == ("", "0")


def test_a_variable_can_be_left_to_the_program(monkeypatch):
    monkeypatch.setenv("RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES", "1")
    allotment.begin({"GPU": [0], "TPU": [1]}, False)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert os.environ["TPU_VISIBLE_CHIPS"] == "1"
    assert allotment.ids("GPU") == [0]


def test_threads_follow_the_cpus_unless_somebody_has_chosen():
    allotment.begin({}, False)
    allotment.set_threads(3)
    assert "OMP_NUM_THREADS" not in os.environ
    allotment.begin({}, True)
    allotment.set_threads(3)
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_a_node_has_no_more_than_the_variable_lists(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("TPU_VISIBLE_CHIPS", "0,1")
    lifecycle.check_node({"num_gpus": 1, "resources": {"TPU": 2}})
    with pytest.raises(ValueError, match=r"with 2 GPU, but CUDA_VISIBLE_DEVICES contains \['0'\]"):
        lifecycle.check_node({"num_gpus": 2})
    with pytest.raises(ValueError, match="with 4 TPU, but TPU_VISIBLE_CHIPS contains"):
        lifecycle.check_node({"resources": {"TPU": 4}})
