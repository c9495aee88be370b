from ray_engine.cluster_utils import *
