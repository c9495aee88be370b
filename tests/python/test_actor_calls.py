"""Calls of actors: how many may wait, in which order they go, and the loops of actors with coroutines."""

import asyncio
import threading

import pytest
import ray_engine as ray

from tests.python.waiting import Gate, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


class Echo:
    def wait(self, gate):
        gate.pass_through()

    def echo(self, value=None):
        return value


class EchoAsync(Echo):
    async def echo(self, value=None):
        return value


def test_calls_beyond_the_limit_are_refused(tmp_path):
    gate = Gate(tmp_path)
    actor = ray.remote(max_pending_calls=3)(Echo).remote()
    refs = [actor.wait.remote(gate), actor.echo.remote(), actor.echo.remote()]
    with pytest.raises(ray.exceptions.PendingCallsLimitExceeded, match="3 calls to the actor are pending"):
        actor.echo.remote()
    gate.open()
    ray.get(refs)
    assert ray.get(actor.echo.remote("again")) == "again"


def test_the_limit_travels_with_the_handle(tmp_path):
    @ray.remote
    def fill(actor, gate):
        refs = [actor.wait.remote(gate), actor.echo.remote()]
        try:
            actor.echo.remote()
        except ray.exceptions.PendingCallsLimitExceeded:
            gate.open()
        return len(ray.get(refs))

    actor = ray.remote(max_pending_calls=2)(Echo).remote()
    assert ray.get(fill.remote(actor, Gate(tmp_path))) == 2


@pytest.mark.parametrize(
    "cls, options",
    [(Echo, {"max_concurrency": 2}), (EchoAsync, {"max_restarts": 0}), (Echo, {"allow_out_of_order_execution": True})],
)
def test_calls_overtake_those_that_lack_an_argument(tmp_path, cls, options):
    @ray.remote
    def pass_through(gate):
        gate.pass_through()
        return "late"

    gate = Gate(tmp_path)
    actor = ray.remote(**options)(cls).remote()
    late = actor.echo.remote(pass_through.remote(gate))
    assert ray.get(actor.echo.remote("early"), timeout=60) == "early"
    gate.open()
    assert ray.get(late) == "late"


def test_order_cannot_be_had_from_concurrent_actors():
    for cls, options in ((Echo, {"max_concurrency": 2}), (EchoAsync, {"max_restarts": 0})):
        with pytest.raises(ValueError, match="out-of-order"):
            ray.remote(allow_out_of_order_execution=False, **options)(cls).remote()


# ---- loops ----------------------------------------------------------------------------------------------------------


def test_the_constructor_runs_in_the_loop():
    @ray.remote
    class Starts:
        def __init__(self):
            self.loop = asyncio.get_running_loop()
            self.task = asyncio.create_task(self.begin())

        async def begin(self):
            return "begun"

        async def result(self):
            return await self.task, asyncio.get_running_loop() is self.loop

    assert ray.get(Starts.remote().result.remote()) == ("begun", True)


def test_what_a_constructor_raises_in_the_loop():
    @ray.remote
    class Fails:
        def __init__(self):
            raise ValueError("no good")

        async def ping(self):
            return None

    with pytest.raises(ray.exceptions.ActorDiedError, match="no good"):
        ray.get(Fails.remote().ping.remote())


def test_a_group_that_blocks_its_loop_blocks_no_other(tmp_path):
    @ray.remote(concurrency_groups={"io": 1})
    class Blocks:
        async def block(self, gate):
            gate.pass_through()
            return threading.get_ident()

        @ray.method(concurrency_group="io")
        def ping(self):
            return threading.get_ident()

    gate = Gate(tmp_path)
    actor = Blocks.remote()
    blocked = actor.block.remote(gate)
    thread = ray.get(actor.ping.remote(), timeout=60)
    gate.open()
    assert ray.get(blocked) != thread


def test_coroutines_know_their_task_and_actor():
    @ray.remote
    class Knows:
        async def tell(self):
            first = self.context()
            await asyncio.sleep(0)
            return first, self.context(), await asyncio.to_thread(self.context)

        def context(self):
            context = ray.get_runtime_context()
            return context.get_task_id(), context.get_actor_id()

    actor = Knows.remote()
    refs = [actor.tell.remote() for _ in range(3)]
    for ref, told in zip(refs, ray.get(refs), strict=True):
        assert told == ((ref.task_id().hex(), actor._actor_id.hex()),) * 3


def test_a_thread_of_an_actor_knows_the_actor():
    @ray.remote
    class Knows:
        def tell(self):
            told = []
            thread = threading.Thread(target=lambda: told.append(ray.get_runtime_context().get_actor_id()))
            thread.start()
            thread.join()
            return told[0]

    actor = Knows.remote()
    assert ray.get(actor.tell.remote()) == actor._actor_id.hex()


def test_sys_exit_in_a_task_of_the_loop_is_a_crash():
    @ray.remote(max_restarts=1, max_task_retries=-1)
    class Leaves:
        async def leave(self, path):
            if not path.exists():
                path.touch()
                asyncio.create_task(self._exit())
                await asyncio.sleep(3600)
            return "restarted"

        async def _exit(self):
            raise SystemExit(1)

    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        assert ray.get(Leaves.remote().leave.remote(Path(folder) / "left")) == "restarted"


def test_a_callback_that_fails_is_let_go(caplog):
    import weakref

    class Callback:
        def __call__(self, value):
            raise ValueError(f"cannot take {value}")

    callback = Callback()
    alive = weakref.ref(callback)
    with caplog.at_level("ERROR", logger="ray"):
        ray.put(5)._on_completed(callback)
        del callback
        wait_for(lambda: alive() is None)
    assert "cannot take 5" in caplog.text


def test_a_future_belongs_to_the_loop_of_its_thread():
    ref = ray.put(7)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        assert loop.run_until_complete(ref.as_future()) == 7
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert asyncio.run(asyncio.wait_for(ref, 60)) == 7


def test_a_task_knows_that_it_was_cancelled(tmp_path):
    @ray.remote
    def interrupted(gate):
        try:
            gate.pass_through()
        except KeyboardInterrupt:
            return ray.get_runtime_context().is_canceled()

    gate = Gate(tmp_path)
    ref = interrupted.remote(gate)
    gate.wait_for_arrival()
    ray.cancel(ref)
    assert ray.get(ref) is True
    assert ray.get_runtime_context().is_canceled() is False
