from ray_engine.util.placement_group import *
