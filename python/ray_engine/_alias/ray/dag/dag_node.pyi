from ray_engine.dag.dag_node import *
