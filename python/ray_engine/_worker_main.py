"""A worker's life: join the engine that the forkserver's socket leads to, run tasks, end when the engine says so."""

import sys

from ray_engine import _core
from ray_engine._private import allotment, hooks, job, process_title, system_methods, worker_output
from ray_engine._private.ids import JobID
from ray_engine._private.session import session


def main(fd: int, job_config: bytes = b"", job_id: bytes = b"", environment=(), units=None, sets_threads=False):
    """Runs in a new process. `fd` is the worker's socket, on which the engine's welcome waits; the rest is what the
    Fork packet says of the worker (engine/wire/control.h), and whether OMP_NUM_THREADS follows the CPUs of tasks."""
    process_title.show(process_title.title(process_title.IDLE))
    allotment.begin(units or {}, sets_threads)
    settings = job.apply(job_config)
    info = _core.connect(fd=fd, role="worker", hooks=hooks.table())
    if job_id:
        _core.set_job(job_id)
    session.begin(
        "worker",
        info,
        job_id=job_id or JobID.nil().binary(),
        settings=settings,
        environment=dict(environment) or settings.get("environment", {}),
    )
    worker_output.install()
    job.apply_private(settings)
    try:
        code = _core.run_worker()
        if code is None:  # the session has ended
            return 0
        system_methods.shut_down()
        return code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
