"""RuntimeEnv: a runtime_env as an object. It is a dictionary; only the field env_vars has an effect here."""

from ray_engine._private import environment


class RuntimeEnvConfig(dict):
    """Settings of how an environment is made. There is nothing to make, so they have no effect."""

    def __init__(self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files=None):
        super().__init__(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=log_files or []
        )


class RuntimeEnv(dict):
    """`env_vars`: variables that tasks and actors find in os.environ. Fields that are None are left out."""

    def __init__(self, *, env_vars: dict | None = None, config=None, **fields):
        super().__init__()
        for name, value in {"env_vars": env_vars, "config": config, **fields}.items():
            if value is not None:
                self[name] = value

    def __setitem__(self, name, value):
        if name == "env_vars":
            environment.check_variables(value)
        super().__setitem__(name, value)

    def set(self, name: str, value):
        self[name] = value

    def env_vars(self) -> dict:
        return self.get("env_vars", {})

    def to_dict(self) -> dict:
        return dict(self)
