"""`ray._private.state`: what tests ask it, answered by the public state API."""

import ray
from ray import available_resources, cluster_resources, nodes  # noqa: F401
from ray.util.state import list_jobs


def jobs():
    return [
        {
            "JobID": job.job_id,
            "IsDead": job.end_time is not None,
            "StartTime": job.start_time,
            "EndTime": job.end_time or 0,
            "Entrypoint": job.entrypoint,
            "DriverPid": job.driver_pid,
        }
        for job in list_jobs(limit=10_000)
    ]


def node_ids():
    """The resources by which a task can ask for a node: one of each living node."""
    return [name for node in nodes() if node["Alive"] for name in node["Resources"] if _names_a_node(name)]


def current_node_id():
    own = ray.get_runtime_context().get_node_id()
    node = next(node for node in nodes() if node["NodeID"] == own)
    return next(name for name in node["Resources"] if _names_a_node(name))


def _names_a_node(resource):
    return resource.startswith("node:") and resource != "node:__internal_head__"
