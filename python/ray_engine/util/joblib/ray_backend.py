"""RayBackend: joblib's batches run in a Pool of actors; large arguments are put into the store once per call."""

import sys

from joblib.parallel import FallbackToBackend, MultiprocessingBackend, SequentialBackend, parallel_config

import ray_engine as ray
from ray_engine.util.multiprocessing import Pool

_SMALL_BYTES = 1024  # arguments below it travel with each call


class RayBackend(MultiprocessingBackend):
    """`ray_remote_args`: options of the actors; may also be given to Parallel()."""

    supports_return_generator = True

    def __init__(self, nesting_level=None, inner_max_num_threads=None, ray_remote_args=None, **kwargs):
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **kwargs)
        self.ray_remote_args = ray_remote_args

    def effective_n_jobs(self, n_jobs) -> int:
        """How many processes `n_jobs` stands for: -1 is all CPUs of the session, -2 all but one, ..."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        return n_jobs if n_jobs > 0 else max(1, _num_cpus() + 1 + n_jobs)

    def configure(self, n_jobs=1, parallel=None, prefer=None, require=None, ray_remote_args=None, **_):
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        options = self.ray_remote_args if ray_remote_args is None else ray_remote_args
        self._pool = _Pool(n_jobs, ray_remote_args=options)
        self.parallel = parallel
        return n_jobs

    def start_call(self):
        """An array may have been changed since the last call."""
        self._pool._registry.clear()

    def submit(self, func, callback=None):
        batch = _Batch(func, self._pool._registry)
        return self._pool.apply_async(batch, callback=callback, error_callback=callback)

    apply_async = submit  # its name in older versions of joblib

    def retrieve_result_callback(self, out):
        if isinstance(out, BaseException):
            raise out
        return out


def _num_cpus() -> int:
    if not ray.is_initialized():
        ray.init()
    return int(ray.cluster_resources().get("CPU", 1))


class _Pool(Pool):
    """A pool that knows which arguments are in the store."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._registry = _Arguments()

    def close(self):
        self._registry.clear()
        super().close()


class _Arguments:
    """The arguments that are in the store, by identity."""

    def __init__(self):
        self._stored = {}  # id -> (argument, reference)

    def put(self, argument):
        """The argument if it is small, else where it is stored."""
        if max(getattr(argument, "nbytes", 0), sys.getsizeof(argument)) < _SMALL_BYTES:
            return argument
        if id(argument) not in self._stored:
            self._stored[id(argument)] = argument, ray.put(argument)
        return _Stored(self._stored[id(argument)][1])

    def clear(self):
        self._stored.clear()

    def __iter__(self):
        """Pairs of an argument and its reference."""
        return iter(self._stored.values())


class _Stored:
    """Stands for an argument that is in the store."""

    def __init__(self, ref):
        self.ref = ref


def _fetched(argument):
    return ray.get(argument.ref) if isinstance(argument, _Stored) else argument


class _Batch:
    """joblib's BatchedCalls with stored arguments."""

    def __init__(self, calls, arguments: _Arguments):
        self.config = {"backend": calls._backend, "n_jobs": calls._n_jobs}
        self.items = [
            (func, [arguments.put(item) for item in args], {name: arguments.put(item) for name, item in kwargs.items()})
            for func, args, kwargs in calls.items
        ]

    def __call__(self) -> list:
        with parallel_config(**self.config):
            return [
                func(*map(_fetched, args), **{name: _fetched(item) for name, item in kwargs.items()})
                for func, args, kwargs in self.items
            ]
