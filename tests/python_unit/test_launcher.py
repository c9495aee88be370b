"""Finding engines and telling them their settings; what init() refuses before it starts anything."""

import os

import pytest
import ray_engine as ray
from ray_engine._private import job, launcher, lifecycle

UID = os.getuid()


def _table(tmp_path, *names):
    path = tmp_path / "unix"
    rows = [f"0000000000000000: 00000002 00000000 00010000 0005 01 {n} {name}" for n, name in enumerate(names, 1000)]
    path.write_text("Num       RefCount Protocol Flags    Type St Inode Path\n" + "\n".join(rows) + "\n")
    return path


def test_sessions_of_this_user_are_found_by_their_first_node(tmp_path):
    table = _table(
        tmp_path,
        f"@ray-engine/{UID}/one/3",
        f"@ray-engine/{UID}/one/0",
        f"@ray-engine/{UID + 1}/other/0",
        f"@ray-engine/{UID}/two/0",
        "/run/systemd/private",
        "",
    )
    assert launcher.running_sessions(table) == {"one": f"ray-engine/{UID}/one/0", "two": f"ray-engine/{UID}/two/0"}


@pytest.mark.parametrize(
    ("found", "words"), [([], "Could not find any running Ray instance"), (["a", "b"], "More than one")]
)
def test_auto_needs_exactly_one_session(monkeypatch, found, words):
    monkeypatch.setattr(launcher, "running_sessions", lambda: {name: f"ray-engine/{UID}/{name}/0" for name in found})
    for variable in ("RAY_ADDRESS", "RAY_ENGINE_ADDRESS", "RAY_ENGINE_DRIVER_FD"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ConnectionError, match=words) as info:
        ray.init(address="auto")
    assert all(f"ray-engine/{UID}/{name}/0" in str(info.value) for name in found)


def test_addresses():
    assert launcher.socket_name("@ray-engine/7/s/0") == launcher.socket_name("ray-engine/7/s/0") == "ray-engine/7/s/0"
    for wrong in ("ray://host:10001", "10.0.0.1:6379", "nonsense"):
        with pytest.raises(ConnectionError):
            ray.init(address=wrong)


def test_a_session_that_is_not_there():
    with pytest.raises(ConnectionError, match=f"ray-engine/{UID}/no-such-session/0"):
        ray.init(address=f"ray-engine/{UID}/no-such-session/0")
    assert not ray.is_initialized()


def test_places_in_order_of_preference(monkeypatch):
    for variable in ("RAY_ADDRESS", "RAY_ENGINE_ADDRESS", "RAY_ENGINE_DRIVER_FD"):
        monkeypatch.delenv(variable, raising=False)
    assert lifecycle._place(None) == (None, None)
    monkeypatch.setenv("RAY_ADDRESS", "ray-engine/7/environment/0")
    assert lifecycle._place(None) == (None, "ray-engine/7/environment/0")
    monkeypatch.setenv("RAY_ENGINE_ADDRESS", "ray-engine/7/launcher/0")
    assert lifecycle._place("auto") == (None, "ray-engine/7/launcher/0")
    assert lifecycle._place("ray-engine/7/given/0") == (None, "ray-engine/7/given/0")
    assert lifecycle._place("local") == (None, None)


def test_the_launchers_socket_is_used_once_and_only_where_it_is_open(monkeypatch):
    monkeypatch.setenv("RAY_ENGINE_ADDRESS", "ray-engine/7/launcher/0")
    read_end, write_end = os.pipe()
    monkeypatch.setenv("RAY_ENGINE_DRIVER_FD", str(read_end))
    assert lifecycle._place(None) == (read_end, None)
    assert lifecycle._place(None) == (None, "ray-engine/7/launcher/0")
    monkeypatch.setenv("RAY_ENGINE_DRIVER_FD", str(read_end))
    os.close(read_end)
    os.close(write_end)
    assert lifecycle._place(None) == (None, "ray-engine/7/launcher/0")


def test_settings_as_arguments():
    settings = {
        "num_cpus": 2,
        "num_gpus": None,
        "resources": {"a": 1, "b": 0.5},
        "object_store_memory": 10**8,
        "node_name": "n 1",
        "labels": {},
    }
    assert launcher.arguments(settings) == [
        "--num-cpus=2",
        "--resources=a=1,b=0.5",
        "--object-store-memory=100000000",
        "--node-name=n 1",
    ]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"frobnicate": 1}, RuntimeError, r"Unknown keyword argument\(s\): frobnicate"),
        ({"local_mode": True}, RuntimeError, "no longer supported"),
        ({"_system_config": 3}, TypeError, "_system_config must be a dict"),
        ({"num_cpus": -1}, ValueError, "cannot be negative"),
        ({"num_cpus": "4"}, TypeError, "num_cpus must be a number"),
        ({"resources": {"CPU": 1}}, ValueError, "must not contain the key 'CPU'"),
        ({"resources": {"x": -1}}, ValueError, "not negative"),
        ({"num_cpus": 1e20}, ValueError, "num_cpus cannot be 1e\\+20; the most is"),
        ({"num_gpus": float("inf")}, ValueError, "num_gpus cannot be inf"),
        ({"num_gpus": 1.5}, ValueError, "whole units of GPU"),
        ({"resources": {"TPU": 0.5}}, ValueError, "whole units of TPU"),
        ({"_memory": 10**400}, ValueError, "memory cannot be 1000"),
        ({"resources": {"x": 1e20}}, ValueError, "resource x cannot be 1e\\+20"),
        ({"resources": {"x": float("nan")}}, ValueError, "resource x cannot be nan"),
        ({"resources": "x"}, TypeError, "resources must be a dictionary"),
        ({"resources": []}, TypeError, "resources must be a dictionary"),
        ({"resources": {1: 1}}, TypeError, "resources must have strings for names"),
        ({"address": 5}, TypeError, "address must be a string or None"),
        ({"_node_name": 5}, TypeError, "node_name must be a string"),
        ({"labels": "x"}, TypeError, "labels must be a dictionary"),
        ({"labels": {"a b": "c"}}, ValueError, "Invalid label key name"),
        ({"labels": {"a": 3}}, ValueError, "dictionary of strings"),
        ({"namespace": ""}, ValueError, "not a valid namespace"),
        ({"namespace": 3}, TypeError, "namespace must be None or a string"),
        ({"address": "ray-engine/7/s/0", "num_cpus": 1}, ValueError, "num_cpus must not be provided"),
        ({"address": "ray-engine/7/s/0", "labels": {"a": "b"}}, ValueError, "labels must not be provided"),
    ],
)
def test_init_refuses(given, error, words):
    with pytest.raises(error, match=words):
        ray.init(**given)
    assert not ray.is_initialized()


def test_shutdown_without_a_session_does_nothing():
    ray.shutdown()
    ray.shutdown()


def test_a_deleted_working_directory_is_left_out(monkeypatch, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr("sys.path", ["", "relative", "/somewhere"])
    settings = job.settings("space", {}, "non_detached")
    assert (settings["cwd"], settings["sys_path"]) == ("", ["/somewhere"])


def test_an_engine_that_cannot_start_is_told_by_its_exit_code(monkeypatch, tmp_path):
    program = tmp_path / "ray-engine"
    program.write_text("#!/bin/sh\nexit 72\n")
    program.chmod(0o755)
    monkeypatch.setenv("RAY_ENGINE_PROGRAM", str(program))
    with pytest.raises(ConnectionError, match="ended with exit code 72; see its message above") as info:
        ray.init("local")
    assert "closed the connection" not in str(info.value)
    assert not ray.is_initialized()


def test_job_settings_reach_a_worker(monkeypatch, tmp_path):
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", "/somewhere", *sys.path])
    monkeypatch.setenv("RAY_max_direct_call_object_size", "7")
    private = job.private_settings({"actor_graceful_shutdown_timeout_ms": 5, "unknown": 1})
    blob = job.pickled({**job.settings("space", {"A": "1"}, "detached"), **private})
    monkeypatch.chdir("/")
    monkeypatch.setattr(sys, "path", ["/own"])
    settings = job.apply(blob)
    assert os.getcwd() == str(tmp_path)
    assert sys.path[:2] == [str(tmp_path), "/somewhere"] and sys.path[-1] == "/own"
    assert settings["namespace"] == "space" and settings["environment"] == {"A": "1"}
    assert settings["actor_lifetime"] == "detached" and not settings["has_own_namespace"]
    assert settings["exit_grace_ms"] == 5 and settings["inline_limit"] == 7
