from ray_engine.util.state.exception import *
