from ray_engine.types import *
