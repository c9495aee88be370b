"""Importing the package: what it costs, and what its top level shows."""

import subprocess
import sys

import pytest
import ray_engine as ray


def _loaded_by_import(*names):
    code = f"import sys, ray_engine; print([n for n in {names!r} if n in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_import_leaves_heavy_modules_alone():
    assert _loaded_by_import("numpy", "pyarrow", "asyncio", "concurrent.futures", "psutil") == "[]"


def test_import_leaves_utilities_alone():
    assert _loaded_by_import("ray_engine.util", "ray_engine.cluster_utils", "ray_engine.experimental") == "[]"


def test_public_names_exist():
    for name in ray.__all__:
        assert getattr(ray, name) is not None


def test_versions():
    assert ray.__version__ == "2.60.0"
    assert ray.__engine_version__.count(".") == 2


def test_names_that_are_not_there_yet_are_refused_by_name():
    with pytest.raises(AttributeError, match=r"ray_engine\.LoggingConfig is part of Ray's API but not available"):
        ray.LoggingConfig  # noqa: B018
    with pytest.raises(AttributeError, match=r"ray_engine\.util\.collective is part of Ray's API"):
        ray.util.collective  # noqa: B018
    with pytest.raises(AttributeError, match=r"ray_engine\.dag\.CompiledDAG is part of Ray's API"):
        ray.dag.CompiledDAG  # noqa: B018
    with pytest.raises(AttributeError, match="has no attribute 'frobnicate'"):
        ray.frobnicate  # noqa: B018


def test_not_initialized_without_init():
    assert not ray.is_initialized()
    with pytest.raises(ray.exceptions.RaySystemError, match="ray.init"):
        ray.nodes()


def test_a_function_keeps_its_name_when_a_module_of_that_name_is_imported():
    code = (
        "from ray_engine._private import alias; alias.install(); import ray\n"
        "from ray.util.placement_group import PlacementGroup\n"
        "assert callable(ray.util.placement_group) and ray.util is __import__('ray_engine.util').util"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_libraries_can_be_imported_and_named():
    import ray_engine.tune.schedulers
    from ray_engine.data import Dataset
    from ray_engine.tune import Callback, Tuner

    class Mine(Callback):
        pass

    def annotated(x: "Dataset | None") -> Dataset | None:
        return x

    assert ray.tune.schedulers is ray_engine.tune.schedulers
    assert not isinstance(3, Dataset) and not issubclass(int, Dataset)
    assert annotated(None) is None
    with pytest.raises(NotImplementedError, match=r"^ray\.tune\.Tuner is part of Ray's API but not available"):
        Tuner(annotated)
    with pytest.raises(NotImplementedError, match=r"ray\.data\.read_csv"):
        ray.data.read_csv("x.csv")
    with pytest.raises(NotImplementedError, match="Mine"):
        Mine()


def test_missing_libraries_by_the_alias():
    code = (
        "import ray_engine.as_ray, ray.train.torch, ray_engine\n"
        "from ray import serve\n"
        "from ray.rllib.algorithms.ppo import PPOConfig\n"
        "assert ray.train.torch is ray_engine.train.torch\n"
        "try:\n    serve.run(None)\n"
        "except NotImplementedError as error:\n    assert 'ray.serve.run' in str(error)\n"
        "else:\n    raise SystemExit('ran')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
