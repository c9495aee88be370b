from ray_engine.dag.function_node import *
