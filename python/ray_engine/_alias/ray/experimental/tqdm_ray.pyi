from ray_engine.experimental.tqdm_ray import *
