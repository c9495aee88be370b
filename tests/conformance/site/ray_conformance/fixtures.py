"""The fixtures that Ray's tests take from their conftest.py, written for any engine behind `import ray`."""

import contextlib
import copy
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import ray

importlib.import_module("ray.cluster_utils").cluster_not_supported = pytest.mark.skipif(False, reason="it is")

SYSTEM_CONFIG = {
    "object_timeout_milliseconds": 200,
    "health_check_initial_delay_ms": 0,
    "health_check_failure_threshold": 10,
    "object_store_full_delay_ms": 100,
    "local_gc_min_interval_s": 1,
}


def default_init_arguments():
    return {
        "num_cpus": 1,
        "object_store_memory": 150 * 2**20,
        "dashboard_port": None,
        "namespace": "default_test_namespace",
        "_system_config": dict(SYSTEM_CONFIG),
    }


def parameter_of(request):
    return copy.deepcopy(getattr(request, "param", {}))


# Test files that take it for granted that the machine has so many CPUs.
CPUS = {"test_distributed_sort.py": 4}


@pytest.fixture(autouse=True)
def machine_with_enough_cpus(request, monkeypatch):
    """On a smaller machine these tests see more CPUs than there are, and take turns on them."""
    count = CPUS.get(request.node.path.name, 0)
    if count <= os.cpu_count():
        return
    init = ray.init
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    monkeypatch.setattr(ray, "init", lambda **arguments: init(**{"num_cpus": count, **arguments}))


# ---- one node --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def running(**arguments):
    """A local instance of one node with the tests' default arguments, overridden by those given."""
    yield ray.init("local", **{**default_init_arguments(), **arguments})
    ray.shutdown()


def instance_fixture(name, scope="function", **arguments):
    def start(request):
        with running(**{**arguments, **parameter_of(request)}) as context:
            yield context

    start.__name__ = name
    return pytest.fixture(scope=scope, name=name)(start)


ray_start_regular = instance_fixture("ray_start_regular")
ray_start_regular_shared = instance_fixture("ray_start_regular_shared", scope="module")
ray_start_regular_shared_2_cpus = instance_fixture("ray_start_regular_shared_2_cpus", scope="module", num_cpus=2)
ray_start_no_cpu = instance_fixture("ray_start_no_cpu", num_cpus=0)
ray_start_2_cpus = instance_fixture("ray_start_2_cpus", num_cpus=2)
ray_start_10_cpus = instance_fixture("ray_start_10_cpus", num_cpus=10)
ray_start_with_dashboard = instance_fixture("ray_start_with_dashboard", include_dashboard=True)


@pytest.fixture
def ray_start_object_store_memory(request):
    ray.init("local", num_cpus=1, object_store_memory=request.param, _system_config=dict(SYSTEM_CONFIG))
    yield request.param
    ray.shutdown()


@pytest.fixture
def shutdown_only():
    yield None
    ray.shutdown()


@pytest.fixture(scope="class")
def class_ray_instance():
    yield ray.init()
    ray.shutdown()


# ---- several nodes on this machine -----------------------------------------------------------------------------------


@contextlib.contextmanager
def running_cluster(do_init=False, num_nodes=0, skip_cluster=False, **arguments):
    """A Cluster of num_nodes nodes; the driver joins its head when there are nodes or do_init says so."""
    from ray.cluster_utils import Cluster

    arguments = {**default_init_arguments(), **arguments}
    namespace = arguments.pop("namespace")
    cluster = Cluster()
    try:
        for index in range(num_nodes):
            cluster.add_node(**arguments)
            arguments.pop("_system_config", None)
            if index == 0:
                ray.init(address=cluster.address, namespace=namespace)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def cluster_fixture(name, scope="function", **arguments):
    def start(request):
        with running_cluster(**{**arguments, **parameter_of(request)}) as cluster:
            yield cluster

    start.__name__ = name
    return pytest.fixture(scope=scope, name=name)(start)


ray_start_cluster = cluster_fixture("ray_start_cluster")
ray_start_cluster_enabled = cluster_fixture("ray_start_cluster_enabled")
ray_start_cluster_enabled_shared = cluster_fixture("ray_start_cluster_enabled_shared", scope="module")
ray_start_cluster_init = cluster_fixture("ray_start_cluster_init", do_init=True)
ray_start_cluster_head = cluster_fixture("ray_start_cluster_head", do_init=True, num_nodes=1)
ray_start_cluster_2_nodes = cluster_fixture("ray_start_cluster_2_nodes", do_init=True, num_nodes=2)


@pytest.fixture
def ray_start_cluster_head_with_env_vars(request, monkeypatch):
    arguments = parameter_of(request)
    for name, value in arguments.pop("env_vars", {}).items():
        monkeypatch.setenv(name, value)
    with running_cluster(do_init=True, num_nodes=1, **arguments) as cluster:
        yield cluster


@pytest.fixture
def start_cluster(ray_start_cluster_enabled):
    ray_start_cluster_enabled.add_node(num_cpus=4)
    yield ray_start_cluster_enabled, ray_start_cluster_enabled.address


@pytest.fixture(scope="module")
def _start_cluster_shared(ray_start_cluster_enabled_shared):
    ray_start_cluster_enabled_shared.add_node(num_cpus=4)
    return ray_start_cluster_enabled_shared


@pytest.fixture
def start_cluster_shared(_start_cluster_shared):
    yield _start_cluster_shared, _start_cluster_shared.address
    ray.shutdown()


@pytest.fixture
def two_node_cluster():
    from ray.cluster_utils import Cluster

    cluster = Cluster(head_node_args={"_system_config": {"object_timeout_milliseconds": 200}})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    ray.init(address=cluster.address)
    yield cluster, nodes[-1]
    ray.shutdown()
    cluster.shutdown()


# ---- the command line ------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def started_by_command(parameter):
    default = "ray start --head --num-cpus=1 --min-worker-port=0 --max-worker-port=0 --port 0"
    if isinstance(parameter, str):
        parameter = {"cmd": parameter}
    env = {**os.environ, **parameter.get("env", {})} if "env" in parameter else None
    output = subprocess.check_output(
        parameter.get("cmd", default).split(" "), stderr=subprocess.STDOUT, env=env, text=True
    )
    _, found, rest = output.partition("--address='")
    try:
        yield rest.split("'")[0] if found else None
    finally:
        ray.shutdown()
        subprocess.check_call(["ray", "stop"], env=env)


@pytest.fixture
def call_ray_start(request):
    with started_by_command(getattr(request, "param", {})) as address:
        yield address


@pytest.fixture
def call_ray_stop_only():
    yield
    subprocess.check_call(["ray", "stop"])


@pytest.fixture(params=[True, False])
def start_http_proxy(request):
    proxy = None
    env = {"http_proxy": "http://example.com", "https_proxy": "http://example.com"}
    if request.param and importlib.util.find_spec("proxy"):
        proxy = subprocess.Popen([sys.executable, "-m", "proxy", "--port", "8899", "--log-level", "ERROR"])
        env = {
            "http_proxy": "http://localhost:8899",
            "https_proxy": "http://localhost:8899",
            "RAY_grpc_enable_http_proxy": "1",
        }
    yield env
    if proxy:
        proxy.terminate()
        proxy.wait()


# ---- settings of one test --------------------------------------------------------------------------------------------


@pytest.fixture
def set_enable_auto_connect(request):
    from ray._private import auto_init_hook

    value = getattr(request, "param", False)
    before, auto_init_hook.enable_auto_connect = auto_init_hook.enable_auto_connect, value
    yield value
    auto_init_hook.enable_auto_connect = before


@pytest.fixture
def propagate_logs():
    loggers = [logging.getLogger(name) for name in ("ray", "ray.data")]
    for logger in loggers:
        logger.propagate = True
    yield
    for logger in loggers:
        logger.propagate = False


def environment_fixture(name, variables, scope="function"):
    def set_variables(request):
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in variables(request).items():
                patch.setenv(variable, value)
            yield getattr(request, "param", None)

    set_variables.__name__ = name
    return pytest.fixture(scope=scope, name=name)(set_variables)


enable_mac_large_object_store = environment_fixture(
    "enable_mac_large_object_store", lambda request: {"RAY_ENABLE_MAC_LARGE_OBJECT_STORE": "1"}
)
enable_pickle_debug = environment_fixture("enable_pickle_debug", lambda request: {"RAY_PICKLE_VERBOSE_DEBUG": "1"})
set_runtime_env_retry_times = environment_fixture(
    "set_runtime_env_retry_times", lambda request: {"RUNTIME_ENV_RETRY_TIMES": getattr(request, "param", "0")}
)
set_runtime_env_plugins = environment_fixture(
    "set_runtime_env_plugins", lambda request: {"RAY_RUNTIME_ENV_PLUGINS": getattr(request, "param", "0")}
)
set_bad_runtime_env_cache_ttl_seconds = environment_fixture(
    "set_bad_runtime_env_cache_ttl_seconds",
    lambda request: {"BAD_RUNTIME_ENV_CACHE_TTL_SECONDS": getattr(request, "param", "0")},
)


@pytest.fixture
def maybe_setup_external_redis():
    """There is no Redis behind this engine; tests that only make room for it run without."""
    yield


@pytest.fixture
def error_pubsub():
    from ray._private.test_utils import init_error_pubsub

    subscriber = init_error_pubsub()
    yield subscriber
    subscriber.close()


@pytest.fixture
def log_pubsub():
    from ray._private.test_utils import init_log_pubsub

    subscriber = init_log_pubsub()
    yield subscriber
    subscriber.close()


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def tmp_working_dir(tmp_path):
    (tmp_path / "hello").write_text("world")
    (tmp_path / "file_module.py").write_text("def hello():\n    return 'hello'\n")
    package = tmp_path / "test_module"
    package.mkdir()
    (package / "test.py").write_text("def one():\n    return 1\n")
    (package / "__init__.py").write_text("from test_module.test import one\n")
    yield str(tmp_path)


@pytest.fixture
def temp_file():
    with tempfile.NamedTemporaryFile("r+b") as file:
        yield file


@pytest.fixture
def temp_dir():
    with tempfile.TemporaryDirectory() as folder:
        yield folder


def spilling_fixture(name, *types):
    def configure(request, tmp_path):
        folder = Path(tmp_path) / "spill"
        folder.mkdir()
        yield json.dumps({"type": request.param, "params": {"directory_path": str(folder)}}), folder

    configure.__name__ = name
    return pytest.fixture(params=types, name=name)(configure)


fs_only_object_spilling_config = spilling_fixture("fs_only_object_spilling_config", "filesystem")
object_spilling_config = spilling_fixture("object_spilling_config", "filesystem")
multi_node_object_spilling_config = spilling_fixture(
    "multi_node_object_spilling_config", "filesystem", "mock_distributed_fs"
)
unstable_spilling_config = spilling_fixture("unstable_spilling_config", "unstable_fs")
slow_spilling_config = spilling_fixture("slow_spilling_config", "slow_fs")
