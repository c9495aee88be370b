from ray_engine.dag.output_node import *
