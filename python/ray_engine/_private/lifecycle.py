"""init() and shutdown(): joining a session and leaving it.

A process joins, in this order of preference: the address it is given; the launcher's engine (by the socket the
launcher passed down, or RAY_ENGINE_ADDRESS); the session that RAY_ADDRESS names; else it starts an engine of its own,
which ends with it.

Thread-safe: one lock around connecting and disconnecting.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from ray_engine import _core
from ray_engine._private import allotment, environment, job, labels, launcher, object_ref
from ray_engine._private.interrupts import DeferSigint
from ray_engine._private.quantities import quantity_problem
from ray_engine._private.session import check_namespace, session
from ray_engine.exceptions import RaySystemError

if TYPE_CHECKING:
    from ray_engine._private.context import RayContext
    from ray_engine.job_config import JobConfig
    from ray_engine.runtime_env import RuntimeEnv

logger = logging.getLogger("ray")
_lock = threading.RLock()
_OUTPUT_PATIENCE_S = 1.0  # for what workers have printed, at the end
_END_PATIENCE_S = 5.0  # for an engine that has hung up

# Private settings of Ray that change nothing here, or nothing yet; accepted so that programs run unchanged.
_WITHOUT_EFFECT = frozenset({
    "_enable_object_reconstruction", "_plasma_directory", "_node_ip_address", "_driver_object_store_memory",
    "_redis_username", "_redis_password", "_temp_dir", "_metrics_export_port", "_tracing_startup_hook",
    "_skip_env_hook",
})  # fmt: skip


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: JobConfig | None = None,
    configure_logging: bool = True,
    logging_level: int | str = logging.INFO,
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: RuntimeEnv | dict[str, Any] | None = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    proxy_server_url: str | None = None,
    **kwargs: Any,
) -> RayContext:
    """Connects this process to a session of ray-engine, or starts one. Returns a RayContext.

    - address: the session to join: its socket's name; "auto" for the one that runs on this machine; "local" to start
      one. None: that of the launcher, or of RAY_ENGINE_ADDRESS or RAY_ADDRESS; else starts one.
    - num_cpus, num_gpus, resources ({name: amount}), object_store_memory (bytes), labels: of the node that is started;
      by default what the machine has. A session that runs has its own.
    - object_spilling_directory: node-local folder for what the object store has no room for (see --spill-directory).
    - namespace: where names of actors are looked up and made; one of its own if None.
    - runtime_env: {"env_vars": {...}, "pip": [...]} for all tasks and actors; see runtime_env.RuntimeEnv.
    - job_config: a JobConfig with these two, and default_actor_lifetime.
    - log_to_driver: whether what tasks print appears here; None: unless RAY_LOG_TO_DRIVER is 0.
    - ignore_reinit_error: does nothing, rather than raise, where the process is connected.

    The others have no effect. Raises RuntimeError where the process is connected, for arguments that do not exist,
    and where the session runs other versions of ray-engine, Ray or Python than this process; TypeError and ValueError
    for values that cannot be, or do not go with a session that runs; RuntimeEnvSetupError where packages of runtime_env
    are not installed; ConnectionError where there is no session or it does not start.
    """
    node = {
        "num_cpus": num_cpus,
        "num_gpus": num_gpus,
        "resources": resources,
        "labels": labels,
        "object_store_memory": object_store_memory,
        "memory": kwargs.pop("_memory", None),
        "node_name": kwargs.pop("_node_name", None),
        "spill_directory": kwargs.pop("object_spilling_directory", None)
        or kwargs.pop("_object_spilling_directory", None),
    }
    if not isinstance(address, (str, type(None))):
        raise TypeError(f"address must be a string or None, got {address!r}")
    system_config = kwargs.pop("_system_config", None) or {}
    _check_settings(node, local_mode, namespace, system_config, kwargs)
    actor_lifetime = "non_detached"
    if job_config is not None:
        actor_lifetime = job_config.default_actor_lifetime
        namespace = namespace or job_config.ray_namespace
        runtime_env = runtime_env or job_config.runtime_env
    environment.problem(runtime_env)
    environment.check_installed(runtime_env)
    with _lock:
        if session.connected:
            if not ignore_reinit_error:
                raise RuntimeError(
                    "Maybe you called ray.init twice by accident? This process is connected already; "
                    "ignore_reinit_error=True accepts that, ray.shutdown() ends the session it is in."
                )
            logger.info("Calling ray.init() again after it has already been called.")
            return context()
        if log_to_driver is None:
            log_to_driver = os.environ.get("RAY_LOG_TO_DRIVER", "1").lower() not in ("0", "false")
        _connect(address, node, namespace, runtime_env, actor_lifetime, system_config, bool(log_to_driver))
    return context()


def _check_settings(node, local_mode, namespace, system_config, rest):
    if rest.pop("allow_multiple", None):
        raise RuntimeError("`allow_multiple` argument is passed to `ray.init`, but there is no Ray Client here.")
    if rest.pop("storage", None):
        raise RuntimeError("Cluster-wide storage configuration has been removed from Ray.")
    if not isinstance(system_config, dict):
        raise TypeError("The _system_config must be a dict.")
    unknown = ", ".join(name for name in rest if name not in _WITHOUT_EFFECT)
    if unknown:
        raise RuntimeError(f"Unknown keyword argument(s): {unknown}")
    if local_mode:
        raise RuntimeError("`local_mode` is no longer supported.")
    check_namespace(namespace)
    check_node(node)


def check_node(node):
    """Raises if these cannot be the settings of a node."""
    for name in ("num_cpus", "num_gpus", "memory", "object_store_memory"):
        value = node.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise TypeError(f"{name} must be a number, got {value!r}")
        problem = quantity_problem(name, value)
        if problem:
            raise ValueError(problem)
    resources = node.get("resources")
    if resources is not None and not isinstance(resources, dict):
        raise TypeError(f"resources must be a dictionary of names and numbers, got {resources!r}")
    for name, value in (resources or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"resources must have strings for names, got {name!r}")
        if name in ("CPU", "GPU", "memory", "object_store_memory"):
            raise ValueError(f"The resources dictionary must not contain the key '{name}'; there is a keyword for it")
        if not isinstance(value, (int, float)) or value < 0:
            raise ValueError(f"The quantity of resource {name} must be a number and not negative, got {value!r}")
        problem = quantity_problem(name, value)
        if problem:
            raise ValueError(problem)
    _check_accelerators(node.get("num_gpus") or 0, resources or {})
    if not isinstance(node.get("node_name"), (str, type(None))):
        raise TypeError(f"node_name must be a string, got {node['node_name']!r}")
    if node.get("labels") is not None:
        labels.check_node_labels(node["labels"])


def _check_accelerators(num_gpus, resources):
    for name in _core.unit_resources():
        amount = num_gpus if name == "GPU" else resources.get(name, 0)
        if amount != int(amount):
            raise ValueError(f"A node has whole units of {name}, but {amount} were given.")
    allotment.check_node(num_gpus, resources)


def _connect(address, node, namespace, runtime_env, actor_lifetime, system_config, log_to_driver):
    fd, name = _place(address)
    supervisor = None
    try:
        if fd is None and name is None:
            with DeferSigint.create_if_main_thread():  # what is started has an owner, which stops it
                spills = system_config.get("automatic_object_spilling_enabled") is not False
                supervisor = _start(node if spills else {**node, "spill_limit": 0})
                info = _join(supervisor.socket.detach(), None, supervisor)
        else:
            _refuse_node_settings(node)
            info = _join(fd, name, None)
        variables = environment.merged(runtime_env) or {}
        private = job.private_settings({**_head_settings.get(name, {}), **system_config})
        job.apply_private(private)
        settings = {**job.settings(namespace, variables, actor_lifetime), **private}
        job_id = _core.start_job(job.entrypoint(), settings["namespace"], job.pickled(settings), log_to_driver)
        session.begin("driver", info, job_id=job_id, settings=settings, environment=variables, supervisor=supervisor)
        _watch_end()
    except BaseException:
        _leave(supervisor)
        raise


# Of heads that this process has started, by socket name: Ray's private settings for their jobs; ray.__version__ then.
_head_settings: dict[str, dict] = {}
_head_versions: dict[str, str] = {}


def note_head(name: str, system_config: dict | None):
    """This process has started a head."""
    import ray_engine

    _head_settings[name] = system_config or {}
    _head_versions[name] = ray_engine.__version__


def _version_for(name):
    """The version of Ray to join with: a program that calls itself by another joins what it has started as that."""
    import ray_engine

    started_here = name is None or _head_versions.get(name) == ray_engine.__version__
    return _core.ray_version if started_here else ray_engine.__version__


def _place(address):
    """(socket passed down by the launcher, None), (None, socket name), or (None, None) to start an engine."""
    inherited, named = _inherited(address), _named(address)
    if address in (None, "auto"):
        os.environ.pop("RAY_ENGINE_DRIVER_FD", None)
    if inherited is not None or named is None:
        return inherited, None
    return None, launcher.find_running() if named == "auto" else launcher.socket_name(named)


def starts_engine(address) -> bool:
    """Whether init(address) starts an engine of its own."""
    return _inherited(address) is None and _named(address) is None


def _inherited(address):
    """The socket that the launcher passed down; None if there is none, or another address is wanted."""
    fd = os.environ.get("RAY_ENGINE_DRIVER_FD") if address in (None, "auto") else None
    return int(fd) if fd is not None and _is_open(int(fd)) else None


def _named(address):
    """The session to join: an address, or "auto"; None to start one."""
    if address in (None, "auto"):
        address = os.environ.get("RAY_ENGINE_ADDRESS") or os.environ.get("RAY_ADDRESS") or address
    return None if address == "local" else address


def _is_open(fd) -> bool:
    try:
        os.fstat(fd)
        return True
    except OSError:  # a child of the driver: it inherits the variable, not the socket
        return False


def _start(node):
    return launcher.Supervised(["--solo", *launcher.arguments(node)], "driver-fd")


def _join(fd, name, supervisor):
    """Connects by a socket or by a session's name. Another version of Ray or Python there is a RuntimeError."""
    from ray_engine._private import hooks

    try:
        return _core.connect(
            fd=-1 if fd is None else fd,
            address=name or "",
            role="driver",
            hooks=hooks.table(),
            ray_version=_version_for(name),
        )
    except OSError as error:
        code = supervisor and supervisor.exit_code(_END_PATIENCE_S)
        if code:
            raise ConnectionError(
                f"Failed to start an engine for this program: the ray-engine process ended with exit code {code}; "
                "see its message above"
            ) from None
        where = f"Ray cluster at {name}" if name else "the ray-engine that was started for this program"
        raise ConnectionError(f"Failed to connect to {where}: {error}") from error


def _refuse_node_settings(node):
    given = [name for name, value in node.items() if value is not None]
    if given:
        raise ValueError(
            f"When connecting to an existing cluster, {' and '.join(given)} must not be provided. "
            "(Under the ray-engine launcher give these on its command line.)"
        )


# ---- the end --------------------------------------------------------------------------------------------------------

_watching = False


def _watch_end():
    """Once per process: leave the session at exit, and exit on SIGTERM."""
    global _watching
    if _watching:
        return
    _watching = True
    atexit.register(shutdown)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _exit_by_signal)
        os.register_at_fork(after_in_child=_forget_sigterm)


def _exit_by_signal(number, _):
    sys.exit(128 + number)


def _forget_sigterm():
    """A child of the program has no session to leave, and multiprocessing counts on SIGTERM to end its processes:
    Python's handler would never run in one that has just begun to wait for a lock."""
    if signal.getsignal(signal.SIGTERM) is _exit_by_signal:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def shutdown(_exiting_interpreter: bool = False, *, wait_for_processes: bool = False) -> None:
    """Leaves the session; ends the engine if init() started it, and waits for its processes whatever the argument says.

    Does nothing where there is no session, or inside a task. References and handles of the session are of no use then.
    """
    with _lock:
        if not session.connected or session.is_worker:
            return
        _core.flush_output(_OUTPUT_PATIENCE_S)
        _leave(session.supervisor)


def _leave(supervisor):
    """Ends the connection, as far as there is one, and the engine that init() has started. Ctrl-C waits until then."""
    with DeferSigint.create_if_main_thread():
        session.end()
        object_ref.forget_pinned()
        _core.disconnect()
        if supervisor is not None:
            supervisor.stop()


def is_initialized() -> bool:
    """Whether this process is connected to a session."""
    return session.connected


def ensure_connected():
    """init() with its defaults where the process is not connected yet; an error if RAY_ENABLE_AUTO_CONNECT=0."""
    if session.connected:
        return
    if os.environ.get("RAY_ENABLE_AUTO_CONNECT") == "0":
        raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")
    with _lock:
        if not session.connected:
            init()


_core.set_auto_init(ensure_connected)
os.register_at_fork(after_in_child=session.end)  # a child of user code is not part of the session


def context() -> RayContext:
    from ray_engine._private.context import RayContext

    return RayContext(session.info, shutdown)
