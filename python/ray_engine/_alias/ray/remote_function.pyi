from ray_engine.remote_function import *
