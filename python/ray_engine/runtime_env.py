"""RuntimeEnv: a runtime_env as an object. It is a dictionary."""

from typing import Any

from ray_engine._private import environment


class RuntimeEnvConfig(dict):
    """Settings of how an environment is made. There is nothing to make, so they have no effect."""

    def __init__(
        self, setup_timeout_seconds: int = 600, eager_install: bool = True, log_files: list[str] | None = None
    ):
        super().__init__(
            setup_timeout_seconds=setup_timeout_seconds, eager_install=eager_install, log_files=log_files or []
        )


class RuntimeEnv(dict):
    """What a job, task or actor finds in its environment. Fields that are None are left out.

    - env_vars: variables in os.environ.
    - pip: packages as pip's requirements ("numpy>=2"), the path of a file of them, or {"packages": either}. They must
      be installed: nothing is when a program runs. If one is not, .remote() and init() raise RuntimeEnvSetupError.

    Raises TypeError for variables and packages that are not strings, ValueError for those that cannot be.
    """

    def __init__(
        self,
        *,
        env_vars: dict[str, str] | None = None,
        pip: list[str] | str | dict[str, Any] | None = None,
        config: RuntimeEnvConfig | dict[str, Any] | None = None,
        **fields: Any,
    ):
        super().__init__()
        for name, value in {"env_vars": env_vars, "pip": pip, "config": config, **fields}.items():
            if value is not None:
                self[name] = value

    def __setitem__(self, name, value):
        if name == "env_vars":
            environment.check_variables(value)
        if name == "pip":
            environment.problem({"pip": value})
        super().__setitem__(name, value)

    def set(self, name: str, value: Any) -> None:
        """Sets a field; raises as the constructor does."""
        self[name] = value

    def env_vars(self) -> dict[str, str]:
        """The variables."""
        return self.get("env_vars", {})

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dictionary."""
        return dict(self)
