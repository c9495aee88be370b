from ray_engine.util.multiprocessing import *
