"""Parts of Ray's API that this version does not have: the one place that words the refusal."""

# Names of the top-level module that Ray programs may ask for.
TOP_LEVEL = frozenset({
    "timeline", "client", "ClientBuilder", "java_function", "java_actor_class", "cpp_function",
    "LoggingConfig", "Language", "data", "train", "tune", "serve",
    "rllib", "air", "llm", "dag", "autoscaler", "workflow", "widgets", "internal", "runtime_env", "cross_language",
    "job_submission",
})  # fmt: skip


def message(what: str) -> str:
    from ray_engine._version import __engine_version__

    return f"{what} is part of Ray's API but not available in ray-engine {__engine_version__}"


def attribute(module: str, name: str, known=frozenset()):
    """The error for `module.name`; says so if Ray has that name and we do not."""
    if name in known:
        return AttributeError(message(f"{module}.{name}"))
    return AttributeError(f"module {module!r} has no attribute {name!r}")


def option(name: str, value) -> NotImplementedError:
    return NotImplementedError(message(f"The option {name}={value!r}"))
