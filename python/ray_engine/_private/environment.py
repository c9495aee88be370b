"""runtime_env: what a program may say about the environment its tasks run in. Here: environment variables, and packages
that must be there (requirements.py).

A child's variables are those of its parent (the job, the task, the actor) with its own over them. Workers are shared
only inside one environment. `${NAME}` in a value stands for what the variable is at the node, nothing if it is not set;
the forkserver puts it in. Other fields are refused by name.
"""

from ray_engine._private import unavailable
from ray_engine._private.session import session

_MAX_BYTES = 1 << 18  # of all variables together
_TYPE = "runtime_env['env_vars'] must be of type Dict[str, str]"


def problem(runtime_env):
    """For the table of options: raises if this cannot be a runtime_env."""
    _variables(runtime_env)
    _packages(runtime_env)


def merged(runtime_env):
    """The variables that a child with this runtime_env runs with, or None if there are none.

    Raises RuntimeEnvSetupError where packages that it asks for are not installed.
    """
    check_installed(runtime_env)
    return {**session.environment, **_variables(runtime_env)} or None


def check_installed(runtime_env):
    """Raises RuntimeEnvSetupError unless the packages that it asks for are installed."""
    wanted = _packages(runtime_env)
    if wanted:
        from ray_engine._private import requirements

        requirements.check(wanted)


def _packages(runtime_env) -> tuple[str, ...]:
    pip = None if runtime_env is None else runtime_env.get("pip")
    if pip is None:
        return ()
    from ray_engine._private import requirements

    return requirements.packages(pip)


def _variables(runtime_env) -> dict:
    if runtime_env is None:
        return {}
    if not isinstance(runtime_env, dict):
        raise TypeError(f"runtime_env must be dict or RuntimeEnv, but got: {type(runtime_env)}")
    for name, value in runtime_env.items():
        if value and name not in ("env_vars", "pip", "config"):
            raise unavailable.option(f"runtime_env[{name!r}]", value)
    variables = runtime_env.get("env_vars") or {}
    check_variables(variables)
    return dict(variables)


def check_variables(variables):
    if not isinstance(variables, dict):
        raise TypeError(f"{_TYPE}, got {type(variables)}")
    for name, value in variables.items():
        if not isinstance(name, str):
            raise TypeError(f"{_TYPE}, but the key {name} is of type {type(name)}")
        if not isinstance(value, str):
            raise TypeError(f"{_TYPE}, but the value {value} is of type {type(value)}")
        if not name or "=" in name or "\0" in name + value:
            raise ValueError(
                f"runtime_env['env_vars']: {name!r} cannot be an environment variable with value {value!r}"
            )
    size = sum(len(name) + len(value) for name, value in variables.items())
    if size > _MAX_BYTES:
        raise ValueError(f"runtime_env['env_vars'] is {size} characters long; {_MAX_BYTES} are the limit")
