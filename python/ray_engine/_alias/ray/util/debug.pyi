from ray_engine.util.debug import *
