from ray_engine.util.actor_pool import *
