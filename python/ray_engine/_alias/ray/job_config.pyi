from ray_engine.job_config import *
