"""`ray._private.state`: questions about the cluster that have a public counterpart."""

from ray import available_resources, cluster_resources, nodes  # noqa: F401
