"""JobConfig: settings of a driver's job, for programs that pass them as one object to init()."""


class JobConfig:
    def __init__(
        self,
        jvm_options=None,
        code_search_path=None,
        runtime_env=None,
        _client_job=False,
        metadata=None,
        ray_namespace=None,
        default_actor_lifetime="non_detached",
        _py_driver_sys_path=None,
    ):
        if default_actor_lifetime not in ("detached", "non_detached"):
            raise ValueError("Default actor lifetime must be one of `detached`, `non_detached`")
        self.jvm_options = jvm_options or []
        self.code_search_path = code_search_path or []
        self.runtime_env = runtime_env or {}
        self.metadata = metadata or {}
        self.ray_namespace = ray_namespace
        self.default_actor_lifetime = default_actor_lifetime

    def set_metadata(self, key: str, value: str):
        self.metadata[key] = value

    def set_runtime_env(self, runtime_env, validate: bool = False):
        self.runtime_env = runtime_env or {}

    def set_ray_namespace(self, ray_namespace: str):
        self.ray_namespace = ray_namespace
