"""Parts of the API that may change."""


def __getattr__(name):
    if name == "internal_kv":
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    from ray_engine._private import unavailable

    known = frozenset(
        {"get_object_locations", "get_local_object_locations", "tqdm_ray", "collective", "channel", "shuffle"}
    )
    raise unavailable.attribute(__name__, name, known)
