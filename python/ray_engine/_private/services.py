"""`ray._private.services`: what programs written for Ray take from there."""

from ray_engine.util.node import get_node_ip_address as get_node_ip_address
