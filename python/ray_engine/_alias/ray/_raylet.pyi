from ray_engine._raylet import *
