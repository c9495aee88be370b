from ray_engine.actor import *
