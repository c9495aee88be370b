"""cloudpickle under the name that Ray programs know (`from ray import cloudpickle`)."""

from cloudpickle import *  # noqa: F403
from cloudpickle import CloudPickler, Pickler, dump, dumps, load, loads  # noqa: F401
