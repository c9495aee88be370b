from ray_engine.experimental.locations import *
