from ray_engine.internal import *
