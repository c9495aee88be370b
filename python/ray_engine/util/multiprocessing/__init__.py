"""multiprocessing's Pool over the workers of a session: `from ray_engine.util.multiprocessing import Pool`."""

from multiprocessing import JoinableQueue, TimeoutError

from ray_engine.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
