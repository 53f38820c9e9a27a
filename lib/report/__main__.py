"""`python -m lib.report NAME=value ...`, the command behind `make report`."""

import sys

from lib.report.make import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
