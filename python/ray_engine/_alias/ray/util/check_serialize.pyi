from ray_engine.util.check_serialize import *
