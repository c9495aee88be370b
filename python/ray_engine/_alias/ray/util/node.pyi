from ray_engine.util.node import *
