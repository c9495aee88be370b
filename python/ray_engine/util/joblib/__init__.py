"""joblib over the workers of a session: register_ray(), then joblib.parallel_config("ray")."""


def register_ray() -> None:
    """Makes the backend "ray" known to joblib. Raises ImportError where joblib is not installed."""
    from joblib.parallel import register_parallel_backend

    from ray_engine.util.joblib.ray_backend import RayBackend

    register_parallel_backend("ray", RayBackend)


__all__ = ["register_ray"]
