"""`python -m lib.report NAME=value ...`, the command behind `make report`."""

import sys

from lib._errors import run_command
from lib.report.unchanged import UNFINISHED, Last, find_last, inputs, without_force


def main() -> None:
    arguments, forced = without_force(sys.argv[1:])
    made_of = inputs(arguments)
    last = Last(["of FORCE=1"]) if forced else find_last(arguments, made_of)
    if last.reasons:
        from lib.report.make import make  # imports torch, which takes seconds

        make(arguments, made_of, last)
    else:
        print(last.told)


if __name__ == "__main__":
    sys.exit(run_command(main, UNFINISHED))
