"""Cluster: several nodes on one machine, for tests. Nodes are added and removed while programs run; no MPI.

Each node is a ray-engine process of its own, with its own store and workers. They end when they are removed, and with
this process.
"""

import atexit
import time

import ray_engine as ray
from ray_engine import _core
from ray_engine._private import launcher, lifecycle
from ray_engine._private.session import session

_DEFAULTS = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 150 * 1024 * 1024}
_POLL_S = 0.01

cluster_not_supported = False  # programs ask; there is no platform without


class Node:
    """A node of a Cluster. `ray-engine` tells by one packet that it is up: its socket's name and its id."""

    def __init__(self, words, settings):
        self._supervised = launcher.Supervised([*words, *launcher.arguments(settings)], "ready-fd")
        self._ready = None

    def wait_until_up(self, timeout: float = 30):
        if self._ready is None:
            self._supervised.socket.settimeout(timeout)
            packet = self._supervised.socket.recv(4096)  # raises TimeoutError
            if not packet:
                raise RuntimeError(
                    f"a node did not start (exit code {self._supervised.process.wait()}); see its message"
                )
            self._ready = packet.decode().split()

    @property
    def address(self) -> str:
        self.wait_until_up()
        return self._ready[0]

    @property
    def node_id(self) -> str:
        self.wait_until_up()
        return self._ready[1]

    unique_id = node_id
    gcs_address = address
    raylet_socket_name = address

    def stop(self, graceful: bool = True):
        if not graceful:
            self._supervised.process.kill()
        self._supervised.stop()

    def is_alive(self) -> bool:
        return self._supervised.process.poll() is None


class Cluster:
    def __init__(self, initialize_head=False, connect=False, head_node_args=None, shutdown_at_exit=True):
        self.head_node = None
        self.worker_nodes = set()
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
    def address(self):
        """What to give to ray.init(address=...); None while there is no head node."""
        return self.head_node and self.head_node.address

    gcs_address = address

    def connect(self, namespace=None):
        assert self.address is not None
        assert not self.connected
        ray.init(address=self.address, namespace=namespace, ignore_reinit_error=True)
        self.connected = True

    def add_node(self, wait: bool = True, **node_args) -> Node:
        """Adds a node; the first one is the head. `wait`: until it can be used."""
        settings = _settings(node_args)
        if self.head_node is None:
            node = self.head_node = Node(["start"], settings)
        else:
            node = Node(["node", f"--join={self.address}"], settings)
            self.worker_nodes.add(node)
        if wait:
            node.wait_until_up()
        if node is self.head_node and node_args.get("_system_config"):
            lifecycle.set_head_settings(node.address, node_args["_system_config"])
        return node

    def remove_node(self, node: Node, allow_graceful: bool = True):
        """Ends a node and all that runs on it. Not the node this process is connected to."""
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

    def wait_for_nodes(self, timeout: float = 30):
        """Until exactly the nodes that were added, and not removed, are alive."""
        deadline = time.monotonic() + timeout
        for node in self.list_all_nodes():
            node.wait_until_up(timeout)
        while session.connected and _living() != len(self.list_all_nodes()):
            if time.monotonic() > deadline:
                raise TimeoutError("Timed out while waiting for nodes to join.")
            time.sleep(_POLL_S)

    def list_all_nodes(self) -> list:
        return [*([self.head_node] if self.head_node else []), *self.worker_nodes]

    def remaining_processes_alive(self) -> bool:
        return all(node.is_alive() for node in self.list_all_nodes())

    def shutdown(self):
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
    "dashboard_port",
    "include_dashboard",
    "min_worker_port",
    "max_worker_port",
    "node_ip_address",
)


def _settings(node_args) -> dict:
    settings = {**_DEFAULTS, **{name: value for name, value in node_args.items() if name not in _IGNORED}}
    unknown = set(settings) - {*_DEFAULTS, "resources", "labels", "memory", "node_name", "log_dir"}
    if unknown:
        raise TypeError(f"add_node() got unexpected arguments: {', '.join(sorted(unknown))}")
    lifecycle.check_node(settings)
    return settings


def _living() -> int:
    return sum(1 for node in _core.cluster() if node["alive"])
