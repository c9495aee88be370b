"""`ray._private.state`: the resources that stand for nodes, told by ray.nodes()."""

import ray

_PREFIX = "node:"


def current_node_id():
    own = ray.get_runtime_context().get_node_id()
    return next(_name(node) for node in ray.nodes() if node["NodeID"] == own)


def node_ids():
    return [_name(node) for node in ray.nodes() if node["Alive"]]


def _name(node):
    return _PREFIX + node["NodeManagerAddress"]


def __getattr__(name):
    from ray_conformance.stubs import Missing

    if name.startswith("__"):
        raise AttributeError(name)
    return Missing(f"ray._private.state.{name}")
