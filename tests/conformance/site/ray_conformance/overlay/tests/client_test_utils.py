"""`ray.tests.client_test_utils`: helpers that tests use with a `ray` module they pass in."""

import asyncio


def create_remote_signal_actor(ray):
    class SignalActor:
        """Lets tasks wait until a test says go."""

        def __init__(self):
            self.event = asyncio.Event()

        def send(self, clear=False):
            self.event.set()
            if clear:
                self.event.clear()

        async def wait(self, should_wait=True):
            if should_wait:
                await self.event.wait()

    return ray.remote(SignalActor)
