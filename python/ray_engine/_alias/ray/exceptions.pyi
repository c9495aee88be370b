from ray_engine.exceptions import *
