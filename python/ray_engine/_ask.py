"""`python -m ray_engine._ask PROGRAM WORDS...`: a question to a running session, asked by the program of that name."""

import sys

from ray_engine._private.command_line import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
