"""The former place of `ray.util.state`."""

from ray.util.state import *  # noqa: F403
