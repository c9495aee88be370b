from ray_engine.util.helpers import *
