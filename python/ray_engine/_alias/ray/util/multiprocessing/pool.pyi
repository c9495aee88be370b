from ray_engine.util.multiprocessing.pool import *
