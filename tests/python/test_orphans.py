"""Processes that user code starts, where workers have been told to adopt what these leave behind."""

import os
import subprocess

import psutil
import pytest
import ray_engine as ray

from tests.python.waiting import wait_for


@ray.remote
class Starter:
    def start_and_forget(self):
        """A process whose parent has ended, in a session of its own."""
        return int(subprocess.check_output("setsid sleep 1000 >/dev/null 2>&1 & echo $!", shell=True))

    def start(self):
        return subprocess.Popen(["true"]).pid

    def pid(self):
        return os.getpid()


@pytest.fixture
def starter(start, monkeypatch):
    monkeypatch.setenv("RAY_kill_child_processes_on_worker_exit_with_raylet_subreaper", "true")
    start(num_cpus=1)
    return Starter.remote()


def test_an_orphan_belongs_to_the_worker_and_ends_with_it(starter):
    orphan = psutil.Process(ray.get(starter.start_and_forget.remote()))
    worker = psutil.Process(ray.get(starter.pid.remote()))
    assert orphan.ppid() == worker.pid and orphan.status() != psutil.STATUS_ZOMBIE
    worker.kill()
    wait_for(lambda: not orphan.is_running(), "the end of the orphan")


def test_children_are_reaped_unseen(starter):
    pid = ray.get(starter.start.remote())
    wait_for(lambda: not psutil.pid_exists(pid), "the end of the child")


def test_orphans_end_with_the_session(starter):
    orphan = psutil.Process(ray.get(starter.start_and_forget.remote()))
    ray.shutdown()
    wait_for(lambda: not orphan.is_running(), "the end of the orphan")
