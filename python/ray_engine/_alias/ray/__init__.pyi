from ray_engine import *
