from ray_engine.util.state.common import *
