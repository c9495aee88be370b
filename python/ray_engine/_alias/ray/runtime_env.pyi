from ray_engine.runtime_env import *
