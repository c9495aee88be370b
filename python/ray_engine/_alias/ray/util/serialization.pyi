from ray_engine.util.serialization import *
