from ray_engine.util.state import *
