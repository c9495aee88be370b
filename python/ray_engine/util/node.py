"""About the machine this process runs on."""

from ray_engine._private.session import session


def get_node_ip_address() -> str:
    """The address of this node."""
    return session.info.get("node_ip", "127.0.0.1")


def get_node_instance_id() -> str:
    """The id that a cloud provider gave this node; there is none here."""
    return ""
