from ray_engine.dag.class_node import *
