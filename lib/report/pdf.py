"""`python -m lib.report.pdf NAME=value ...`: prints a report that was made, with the Chromium of the machine."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lib import _files
from lib._errors import FailedRun, UserError, run_command
from lib.report.parameters import parse_parameters, report_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
LONGEST_PRINT = 300  # seconds


def print_report(arguments: Sequence[str]) -> Path:
    """Prints report.html beside itself and returns the PDF; takes the arguments of `make report`."""
    parameters = parse_parameters(arguments)
    dataset = _files.user_path(parameters.dataset)  # named as the report is: where a link leads to
    folder = report_folder(parameters.name or dataset.resolve().name, parameters)
    page, target = folder / "report.html", folder / "report.pdf"
    if not page.is_file():
        raise UserError(f"reports/{folder.name}: expected a report to print, found none; make report first")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise UserError("expected Chromium or Chrome to print with, found none; or open report.html and print it there")
    with tempfile.TemporaryDirectory(prefix=".print-", dir=folder, ignore_cleanup_errors=True) as scratch:
        printed = Path(scratch) / "report.pdf"
        _print(browser, page.resolve(), printed, Path(scratch) / "profile")
        content = printed.read_bytes() if printed.is_file() else b""
        if not content.startswith(b"%PDF-") or b"%%EOF" not in content[-1024:]:
            raise FailedRun(f"{Path(browser).name}: expected a whole PDF, found {len(content):,} bytes of one")
        printed.replace(target)
    return target


def _print(browser: str, page: Path, printed: Path, profile: Path) -> None:
    """Has a browser print a page; raises FailedRun with the last line of what it said."""
    options = ["--headless", "--disable-gpu", "--no-pdf-header-footer", f"--user-data-dir={profile}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")  # without which it does not start as root, in containers
    command = (browser, *options, f"--print-to-pdf={printed}", page.as_uri())
    try:
        subprocess.run(command, check=True, timeout=LONGEST_PRINT, capture_output=True, text=True, errors="replace")
    except subprocess.TimeoutExpired as error:
        raise FailedRun(f"{Path(browser).name}: expected to print within {LONGEST_PRINT} s") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or ["nothing"]
        raise FailedRun(f"{Path(browser).name}: exit code {error.returncode}, said: {said[-1]}") from error


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""

    def print_it() -> None:
        print(f"pdf: {print_report(arguments).relative_to(_files.REPORTS.parent)}")

    return run_command(print_it, "no PDF was written or replaced.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
