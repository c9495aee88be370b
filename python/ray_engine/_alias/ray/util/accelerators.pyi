from ray_engine.util.accelerators import *
