"""`ray.tests.conftest`: what tests import from it by name."""

import contextlib

from ray_conformance.fixtures import started_by_command


@contextlib.contextmanager
def call_ray_start_context(request):
    with started_by_command(getattr(request, "param", {})) as address:
        yield address


def _spilling_config(kind, **parameters):
    return {"type": kind, "params": {"directory_path": "/tmp/spill", **parameters}}


file_system_object_spilling_config = _spilling_config("filesystem")
buffer_object_spilling_config = _spilling_config("filesystem", buffer_size=1_000_000)
mock_distributed_fs_object_spilling_config = _spilling_config("mock_distributed_fs")
unstable_object_spilling_config = _spilling_config("unstable_fs")
slow_object_spilling_config = _spilling_config("slow_fs")
