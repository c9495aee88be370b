from ray_engine.dag.input_node import *
