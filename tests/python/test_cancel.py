"""ray.cancel: queued and running tasks, children, actors; a late cancel hits nobody else."""

import time

import pytest
import ray_engine as ray

from tests.python.waiting import Gate, wait_for

CANCELLED = ray.exceptions.TaskCancelledError
GONE = (ray.exceptions.TaskCancelledError, ray.exceptions.WorkerCrashedError)


def test_a_queued_task_never_runs(start, tmp_path):
    start(num_cpus=1)
    first, second = Gate(tmp_path, "first"), Gate(tmp_path, "second")

    @ray.remote
    def pass_through(gate):
        gate.pass_through()
        return "passed"

    running = pass_through.remote(first)
    first.wait_for_arrival()
    queued = pass_through.remote(second)
    ray.cancel(queued)
    with pytest.raises(CANCELLED):
        ray.get(queued, timeout=60)
    first.open()
    assert ray.get(running, timeout=60) == "passed"
    assert not second.arrived()


def test_a_task_that_waits_for_its_arguments_never_runs(cluster, gate, tmp_path):
    @ray.remote(num_cpus=0)
    def hold(gate):
        gate.pass_through()

    @ray.remote
    def use(value, folder):
        Gate(folder, "used").arrive()

    value = hold.remote(gate)
    waiting = use.remote(value, tmp_path)
    ray.cancel(waiting)
    with pytest.raises(CANCELLED):
        ray.get(waiting, timeout=60)
    gate.open()
    ray.get(value)
    assert not Gate(tmp_path, "used").arrived()


def test_a_running_task_is_interrupted(cluster, gate, tmp_path):
    @ray.remote
    def run(gate, folder):
        try:
            gate.arrive()
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            Gate(folder, "interrupted").arrive()
            raise

    ref = run.remote(gate, tmp_path)
    gate.wait_for_arrival()
    ray.cancel(ref)
    with pytest.raises(CANCELLED):
        ray.get(ref, timeout=60)
    Gate(tmp_path, "interrupted").wait_for_arrival()


def test_a_task_that_waits_in_get_is_interrupted(cluster, tmp_path):
    outer_gate, inner_gate = Gate(tmp_path, "outer"), Gate(tmp_path, "inner")

    @ray.remote(num_cpus=0)
    def inner(gate):
        gate.pass_through()

    @ray.remote
    def outer(outer_gate, inner_gate):
        ref = inner.remote(inner_gate)
        outer_gate.arrive()
        return ray.get(ref)

    ref = outer.remote(outer_gate, inner_gate)
    outer_gate.wait_for_arrival()
    ray.cancel(ref, recursive=False)
    with pytest.raises(CANCELLED):
        ray.get(ref, timeout=60)
    inner_gate.open()


def test_children_are_cancelled_too(cluster, tmp_path):
    parent_gate, child_gate = Gate(tmp_path, "parent"), Gate(tmp_path, "child")

    @ray.remote
    def child(gate, folder):
        try:
            gate.arrive()
            while True:
                time.sleep(0.01)
        except KeyboardInterrupt:
            Gate(folder, "child interrupted").arrive()
            raise

    @ray.remote
    def parent(parent_gate, child_gate, folder):
        ref = child.remote(child_gate, folder)
        parent_gate.arrive()
        return ray.get(ref)

    ref = parent.remote(parent_gate, child_gate, tmp_path)
    parent_gate.wait_for_arrival()
    child_gate.wait_for_arrival()
    ray.cancel(ref)
    with pytest.raises(CANCELLED):
        ray.get(ref, timeout=60)
    Gate(tmp_path, "child interrupted").wait_for_arrival()


def test_force_ends_the_worker(cluster, gate):
    @ray.remote
    def stubborn(gate):
        gate.arrive()
        while True:
            try:
                time.sleep(1000)
            except KeyboardInterrupt:
                pass

    ref = stubborn.remote(gate)
    gate.wait_for_arrival()
    ray.cancel(ref, force=True)
    with pytest.raises(GONE):
        ray.get(ref, timeout=60)


def test_a_finished_task_keeps_its_value(cluster):
    @ray.remote
    def f():
        return 1

    ref = f.remote()
    assert ray.get(ref) == 1
    ray.cancel(ref)
    assert ray.get(ref) == 1


def test_cancelling_twice(cluster, gate):
    @ray.remote
    def run(gate):
        gate.pass_through()

    ref = run.remote(gate)
    gate.wait_for_arrival()
    for _ in range(3):
        ray.cancel(ref)
    with pytest.raises(CANCELLED):
        ray.get(ref, timeout=60)


def test_a_late_cancel_hits_no_other_task(start):
    """Cancels race with the ends of short tasks on one worker: only the cancelled ones may fail."""
    start(num_cpus=1)

    @ray.remote
    def short(i):
        return i

    for round_ in range(100):
        victim, bystanders = short.remote(-1), [short.remote(i) for i in range(3)]
        if round_ % 2:
            ray.wait([victim])
        ray.cancel(victim)
        assert ray.get(bystanders, timeout=60) == [0, 1, 2]
        try:
            assert ray.get(victim, timeout=60) == -1
        except CANCELLED:
            continue


def test_dependants_of_a_cancelled_task_fail(cluster, gate):
    @ray.remote
    def run(gate):
        gate.pass_through()

    @ray.remote
    def use(value):
        return "used"

    ref = run.remote(gate)
    dependant = use.remote(ref)
    gate.wait_for_arrival()
    ray.cancel(ref)
    with pytest.raises(CANCELLED):
        ray.get(dependant, timeout=60)


def test_a_queued_actor_call_never_runs(cluster, gate):
    @ray.remote
    class Actor:
        def __init__(self):
            self.calls = []

        def hold(self, gate):
            gate.pass_through()

        def call(self, name):
            self.calls.append(name)

        def seen(self):
            return self.calls

    actor = Actor.remote()
    held = actor.hold.remote(gate)
    gate.wait_for_arrival()
    first, second = actor.call.remote("first"), actor.call.remote("second")
    ray.cancel(first)
    gate.open()
    ray.get([held, second], timeout=60)
    with pytest.raises(CANCELLED):
        ray.get(first, timeout=60)
    assert ray.get(actor.seen.remote()) == ["second"]


def test_a_coroutine_that_has_not_begun_never_runs(cluster, gate, tmp_path):
    @ray.remote
    class Actor:
        async def hold(self, gate):
            gate.pass_through()  # nothing else of the loop runs meanwhile

        async def run(self, folder):
            Gate(folder, "ran").arrive()

    actor = Actor.remote()
    running = actor.hold.remote(gate)
    gate.wait_for_arrival()
    queued = actor.run.remote(tmp_path)
    ray.cancel(queued)
    ray.get(actor.__ray_call__.options(concurrency_group="_ray_system").remote(id), timeout=60)  # behind it in line
    gate.open()
    with pytest.raises(CANCELLED):
        ray.get(queued, timeout=60)
    ray.get(running, timeout=60)
    assert not Gate(tmp_path, "ran").arrived()


def test_actor_calls_cannot_be_forced(cluster, gate):
    @ray.remote
    class Actor:
        def hold(self, gate):
            gate.pass_through()

    ref = Actor.remote().hold.remote(gate)
    gate.wait_for_arrival()
    with pytest.raises(ValueError, match="force"):
        ray.cancel(ref, force=True)
    gate.open()


def test_a_cancelled_task_is_not_tried_again(cluster, gate):
    @ray.remote(max_retries=5, retry_exceptions=True)
    def run(gate):
        gate.arrive(f"attempt {len(gate.visitors())}")
        while True:
            time.sleep(0.01)

    ref = run.remote(gate)
    wait_for(gate.visitors)
    ray.cancel(ref)
    with pytest.raises(CANCELLED):
        ray.get(ref, timeout=60)
    assert gate.visitors() == ["attempt 0"]


@pytest.mark.parametrize("value", [1, "x", None])
def test_only_references_can_be_cancelled(cluster, value):
    with pytest.raises(TypeError):
        ray.cancel(value)


def test_what_a_coroutine_has_submitted_is_cancelled_with_it_alone(cluster, tmp_path):
    @ray.remote(num_cpus=0)
    def child(name):
        Gate(tmp_path, name).pass_through()
        return name

    @ray.remote
    class Parent:
        async def run(self, name):
            self.refs = {**getattr(self, "refs", {}), name: child.remote(name)}
            return await self.refs[name]

        async def child_of(self, name):
            return [self.refs[name]]

    parent = Parent.remote()
    runs = {name: parent.run.remote(name) for name in ("kept", "cancelled")}
    for name in runs:
        Gate(tmp_path, name).wait_for_arrival()
    ray.cancel(runs["cancelled"])
    with pytest.raises(CANCELLED):
        ray.get(ray.get(parent.child_of.remote("cancelled"))[0], timeout=60)
    Gate(tmp_path, "kept").open()
    assert ray.get(runs["kept"], timeout=60) == "kept"


@pytest.mark.parametrize("threads", [1, 3])
def test_a_method_hears_that_it_is_cancelled(cluster, gate, threads):
    """It ends when it likes; its caller gets no value."""

    @ray.remote(max_concurrency=threads)
    class Actor:
        heard = None

        def work(self, gate):
            gate.arrive()
            limit = time.monotonic() + 60
            while not self.heard and time.monotonic() < limit:
                self.heard = ray.get_runtime_context().is_canceled()
            return "done"

        def what_it_heard(self):
            return self.heard

    actor = Actor.remote()
    call = actor.work.remote(gate)
    gate.wait_for_arrival()
    ray.cancel(call)
    with pytest.raises(CANCELLED):
        ray.get(call, timeout=60)
    assert ray.get(actor.what_it_heard.remote(), timeout=60) is True


def test_coroutines_do_not_ask_whether_they_are_cancelled(cluster):
    @ray.remote
    class Actor:
        async def ask(self):
            return ray.get_runtime_context().is_canceled()

    with pytest.raises(RuntimeError, match="not supported in an async actor"):
        ray.get(Actor.remote().ask.remote())
