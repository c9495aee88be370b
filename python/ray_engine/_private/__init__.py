"""What stands behind the public names of ray_engine. Programs written for Ray use two of these modules all the same."""

_USED = ("internal_api", "services")


def __getattr__(name):
    if name in _USED:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
