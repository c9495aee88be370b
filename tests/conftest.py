"""What every Python test needs: an environment that does not decide results."""

import os

# Unbuffered, Python writes a print() of a driver in several pieces, and workers' lines come between them.
os.environ.pop("PYTHONUNBUFFERED", None)
