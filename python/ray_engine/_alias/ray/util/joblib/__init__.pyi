from ray_engine.util.joblib import *
