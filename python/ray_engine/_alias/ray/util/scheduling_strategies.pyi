from ray_engine.util.scheduling_strategies import *
