"""`python -m lib.report.pdf NAME=value ...`: prints a report that was made, with the Chromium of the machine.

Exit code 0 with the file, 1 after a failed print, 2 where there is no report or no browser.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lib import _files
from lib._errors import FailedRun, UserError
from lib.report.parameters import parse_parameters

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")


def print_report(arguments: Sequence[str]) -> Path:
    """Prints report.html beside itself and returns the PDF; takes the arguments of `make report`."""
    parameters = parse_parameters(arguments)
    folder = _files.REPORTS / (parameters.name or Path(parameters.dataset).name)
    page, target = folder / "report.html", folder / "report.pdf"
    if not page.is_file():
        raise UserError(f"reports/{folder.name}: expected a report to print, found none; make report first")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise UserError("expected Chromium or Chrome to print with, found none; or open report.html and print it there")
    with tempfile.TemporaryDirectory(prefix="print-") as scratch:
        printed = Path(scratch) / "report.pdf"
        options = ["--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={scratch}/profile"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            options.append("--no-sandbox")  # without which it does not start as root, in containers
        command = (browser, *options, f"--print-to-pdf={printed}", page.resolve().as_uri())
        try:
            subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise FailedRun(f"{Path(browser).name}: {error}") from error
        if not printed.is_file():
            raise FailedRun(f"{Path(browser).name}: expected a PDF, found none")
        shutil.copyfile(printed, target)
    return target


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    try:
        target = print_report(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (FailedRun, OSError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    print(f"pdf: {target.relative_to(_files.REPORTS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
