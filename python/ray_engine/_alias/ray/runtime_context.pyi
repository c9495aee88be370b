from ray_engine.runtime_context import *
