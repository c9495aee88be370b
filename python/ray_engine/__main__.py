"""`python -m ray_engine ...` is the ray-engine program of this package."""

import os
import sys

from ray_engine._private.launcher import program

os.execv(program(), ["ray-engine", *sys.argv[1:]])
