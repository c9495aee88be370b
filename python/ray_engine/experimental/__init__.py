"""Parts of the API that may change."""

from typing import TYPE_CHECKING

from ray_engine.experimental.locations import get_local_object_locations, get_object_locations

__all__ = ["get_local_object_locations", "get_object_locations"]

_LAZY = ("internal_kv", "tqdm_ray")
_NOT_YET = frozenset({"channel", "collective", "multiprocessing", "queue", "rdt", "shuffle", "state"})

if TYPE_CHECKING:
    from ray_engine.experimental import internal_kv as internal_kv
    from ray_engine.experimental import locations as locations
    from ray_engine.experimental import tqdm_ray as tqdm_ray
else:

    def __getattr__(name):
        if name in _LAZY:
            import importlib

            return importlib.import_module(f"{__name__}.{name}")
        from ray_engine._private import unavailable

        raise unavailable.attribute(__name__, name, _NOT_YET)
