from ray_engine.util.metrics import *
