"""What every Python test needs: an environment that does not decide results."""

import os
import signal

# Unbuffered, Python writes a print() of a driver in several pieces, and workers' lines come between them.
os.environ.pop("PYTHONUNBUFFERED", None)

# A shell that starts the tests in the background makes them, and so the programs they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
