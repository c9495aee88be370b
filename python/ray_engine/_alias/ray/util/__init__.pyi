from ray_engine.util import *
