"""`ray.tests.conftest`: what tests import from it by name."""

import contextlib

from ray_conformance.fixtures import started_by_command


@contextlib.contextmanager
def call_ray_start_context(request):
    with started_by_command(getattr(request, "param", {})) as address:
        yield address
