"""The methods that every actor has beside its own."""

NAMES = ("__ray_ready__", "__ray_call__", "__ray_terminate__")


def __ray_ready__(self):
    return True


def __ray_call__(self, fn, *args, **kwargs):
    return fn(self, *args, **kwargs)


def __ray_terminate__(self):
    from ray_engine.actor import exit_actor

    exit_actor()
