from ray_engine.dag import *
