from ray_engine.experimental import *
