from ray_engine.util.queue import *
