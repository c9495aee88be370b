from ray_engine.cloudpickle import *
