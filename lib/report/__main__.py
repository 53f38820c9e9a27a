"""`python -m lib.report NAME=value ...`, the command behind `make report`."""

import signal
import sys

from lib.report.make import main

if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):  # the first is ignored where a shell starts this in the background
        signal.signal(ending, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
