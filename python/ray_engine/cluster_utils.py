"""Cluster: several nodes on one machine, for tests. Nodes are added and removed while programs run; no MPI.

Each node is a ray-engine process of its own, with its own store and workers. They end when they are removed, and with
this process.
"""

import atexit
import time
from typing import Any

import ray_engine as ray
from ray_engine import _core
from ray_engine._private import launcher, lifecycle
from ray_engine._private.session import session

_DEFAULTS = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 150 * 1024 * 1024}
_POLL_S = 0.01

cluster_not_supported = False  # programs ask; there is no platform without


class Node:
    """A node of a Cluster. `ray-engine` tells by one packet that it is up: its socket's name and its id."""

    def __init__(self, words: list[str], settings: dict[str, Any]):
        self._supervised = launcher.Supervised([*words, *launcher.arguments(settings)], "ready-fd")
        self._ready: list[str] | None = None

    def wait_until_up(self, timeout: float = 30) -> list[str]:
        """Its socket's name and its id, once it can be used; raises TimeoutError after `timeout` seconds."""
        if self._ready is None:
            self._supervised.socket.settimeout(timeout)
            packet = self._supervised.socket.recv(4096)  # raises TimeoutError
            if not packet:
                raise RuntimeError(
                    f"a node did not start (exit code {self._supervised.process.wait()}); see its message"
                )
            self._ready = packet.decode().split()
        return self._ready

    @property
    def address(self) -> str:
        """The name of its socket."""
        return self.wait_until_up()[0]

    @property
    def node_id(self) -> str:
        """Its id, in hex."""
        return self.wait_until_up()[1]

    @property
    def pid(self) -> int:
        """The process whose end is the end of the node: its supervisor."""
        return self._supervised.process.pid

    unique_id = node_id
    gcs_address = address
    raylet_socket_name = address

    def stop(self, graceful: bool = True) -> None:
        """Ends the node and all that runs on it; not `graceful`: by SIGKILL."""
        if not graceful:
            self._supervised.process.kill()
        self._supervised.stop()

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._supervised.process.poll() is None


class Cluster:
    """A session of several nodes on this machine.

    - initialize_head: adds the head node, made with `head_node_args` (those of add_node()).
    - connect: connects this process to it. Raises RuntimeError without initialize_head.
    - shutdown_at_exit: ends the nodes with this process.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ):
        self.head_node: Node | None = None
        self.worker_nodes: set[Node] = set()
        self.connected = False
        if connect and not initialize_head:
            raise RuntimeError("Cannot connect to uninitialized cluster.")
        if shutdown_at_exit:
            atexit.register(self.shutdown)
        if initialize_head:
            self.add_node(**(head_node_args or {}))
        if connect:
            self.connect()

    @property
    def address(self) -> str | None:
        """What to give to ray.init(address=...); None while there is no head node."""
        return self.head_node.address if self.head_node is not None else None

    gcs_address = address

    def connect(self, namespace: str | None = None) -> None:
        """Connects this process: ray.init(). Raises AssertionError without a head node, or if it is connected."""
        assert self.address is not None
        assert not self.connected
        ray.init(address=self.address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def add_node(self, wait: bool = True, **node_args: Any) -> Node:
        """Adds a node; the first one is the head. `wait`: until it can be used.

        `node_args`: num_cpus (1), num_gpus (0), resources, labels, memory and object_store_memory (150 MiB; bytes),
        node_name. For the head, enable_object_reconstruction (True): whether lost objects are made again. Raises
        TypeError for others, RuntimeError if the node does not start.
        """
        settings = _settings(node_args)
        if self.head_node is None:
            node = self.head_node = Node(["start"], settings)
        else:
            node = Node(["node", f"--join={self.address}"], settings)
            self.worker_nodes.add(node)
        if wait:
            node.wait_until_up()
        if node is self.head_node:
            lifecycle.note_head(node.address, _system_config(node_args))
        return node

    def remove_node(self, node: Node, allow_graceful: bool = True) -> None:
        """Ends a node and all that runs on it. ValueError for the node that this process is connected to."""
        if session.connected and node.address == session.info["socket_name"]:
            ray.shutdown()
            raise ValueError(
                "Removing a node that is connected to this Ray client is not allowed because it will break the driver. "
                "Remove another one."
            )
        node.stop(allow_graceful)
        if node is self.head_node:
            self.head_node = None
        else:
            self.worker_nodes.remove(node)

    def wait_for_nodes(self, timeout: float = 30) -> None:
        """Until exactly the nodes that were added, and not removed, are alive. TimeoutError after so many seconds."""
        deadline = time.monotonic() + timeout
        for node in self.list_all_nodes():
            node.wait_until_up(timeout)
        while session.connected and _living() != len(self.list_all_nodes()):
            if time.monotonic() > deadline:
                raise TimeoutError("Timed out while waiting for nodes to join.")
            time.sleep(_POLL_S)

    def list_all_nodes(self) -> list[Node]:
        """The nodes that were added and not removed, the head first."""
        return [*([self.head_node] if self.head_node else []), *self.worker_nodes]

    def remaining_processes_alive(self) -> bool:
        """Whether all these nodes run."""
        return all(node.is_alive() for node in self.list_all_nodes())

    def shutdown(self) -> None:
        """Removes all nodes."""
        if self.connected:
            ray.shutdown()
            self.connected = False
        for node in [*self.worker_nodes, *([self.head_node] if self.head_node else [])]:
            node.stop()
        self.worker_nodes.clear()
        self.head_node = None


# Arguments of Ray's add_node() that no node is told. The head's _system_config counts for drivers in this process.
_IGNORED = (
    "_system_config",
    "enable_object_reconstruction",
    "dashboard_port",
    "include_dashboard",
    "min_worker_port",
    "max_worker_port",
    "node_ip_address",
)


def _system_config(node_args) -> dict:
    config = node_args.get("_system_config") or {}
    return config if node_args.get("enable_object_reconstruction", True) else {**config, "max_lineage_bytes": 0}


def _settings(node_args) -> dict:
    settings = {**_DEFAULTS, **{name: value for name, value in node_args.items() if name not in _IGNORED}}
    unknown = set(settings) - {
        *_DEFAULTS,
        "resources",
        "labels",
        "memory",
        "node_name",
        "log_dir",
        "spill_directory",
        "spill_limit",
    }
    if unknown:
        raise TypeError(f"add_node() got unexpected arguments: {', '.join(sorted(unknown))}")
    lifecycle.check_node(settings)
    return settings


def _living() -> int:
    return sum(1 for node in _core.cluster() if node["alive"])
