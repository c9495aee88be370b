"""What is told of a worker that died: exit code or signal, and the lines it wrote last."""

import os
import signal
import sys

import pytest
import ray_engine as ray

from tests.python.waiting import Gate, wait_for

LIMIT = 60


def die(how):
    print("a step before")
    print("the last step", file=sys.stderr)
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGSEGV)


@pytest.mark.parametrize(
    ("how", "end"), [("exit", "exited with code 3"), ("signal", "was killed by signal 11 (SIGSEGV)")]
)
def test_a_task_whose_worker_died(start, how, end):
    start(num_cpus=1)
    with pytest.raises(ray.exceptions.WorkerCrashedError) as caught:
        ray.get(ray.remote(max_retries=0)(die).remote(how), timeout=LIMIT)
    text = str(caught.value)
    assert end in text and "(pid " in text
    assert "a step before" in text.split("it wrote last:")[1] and "the last step" in text


def test_an_actor_whose_worker_died(start):
    start(num_cpus=1)

    @ray.remote
    class Actor:
        def die(self):
            die("signal")

    actor = Actor.remote()
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(actor.die.remote(), timeout=LIMIT)
    text = str(caught.value)
    assert "was killed by signal 11 (SIGSEGV)" in text and "the last step" in text.split("it wrote last:")[1]


def test_a_worker_that_was_killed_on_purpose_has_no_last_words(start):
    start(num_cpus=1)

    @ray.remote
    class Actor:
        def speak(self):
            print("something")

    actor = Actor.remote()
    ray.get(actor.speak.remote(), timeout=LIMIT)
    ray.kill(actor)
    with pytest.raises(ray.exceptions.ActorDiedError) as caught:
        ray.get(actor.speak.remote(), timeout=LIMIT)
    assert "it wrote last" not in str(caught.value)


def test_calls_without_retries_do_not_wait_for_a_restart(cluster, tmp_path):
    first, second = Gate(tmp_path, "first"), Gate(tmp_path, "second")
    first.open()

    @ray.remote(max_restarts=1, num_cpus=0)
    class Actor:
        def __init__(self):
            restarted = ray.get_runtime_context().was_current_actor_reconstructed
            (second if restarted else first).pass_through()

        def pid(self):
            return os.getpid()

    def refused():
        try:
            ray.get(actor.pid.remote(), timeout=LIMIT)
        except ray.exceptions.ActorUnavailableError as error:
            return "restarting" in str(error)

    actor = Actor.remote()
    os.kill(ray.get(actor.pid.remote()), signal.SIGKILL)
    second.wait_for_arrival()
    waits = actor.pid.options(max_task_retries=-1).remote()
    wait_for(refused)
    second.open()
    assert os.path.exists(f"/proc/{ray.get(waits, timeout=LIMIT)}")
