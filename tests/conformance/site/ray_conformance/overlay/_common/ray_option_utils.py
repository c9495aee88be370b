"""`ray._common.ray_option_utils`: the engine's table of options."""

from ray_engine._private.options import ACTOR as actor_options  # noqa: F401
from ray_engine._private.options import TASK as task_options  # noqa: F401
