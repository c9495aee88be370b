from ray_engine.util.named_actors import *
