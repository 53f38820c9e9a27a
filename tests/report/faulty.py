"""`python tests/report/faulty.py REPORTS FAULT NAME=value ...`: the command behind `make report`, with one fault.

Where REPLAY names a folder of executed notebooks, they come from there, but for the first EXECUTED of them: most
faults are met before or after kernels.
"""

import ctypes
import errno
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import nbformat
from nbconvert.exporters import HTMLExporter

from lib import _files
from lib.report import make, notebooks, unchanged


def no_space(*arguments: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def full_disk_at(end: str) -> None:
    """Every file whose path ends so meets a full disk."""
    opened = Path.open

    def open_or_fail(path: Path, mode: str = "r", *arguments, **named):
        return no_space() if "w" in mode and str(path).endswith(end) else opened(path, mode, *arguments, **named)

    Path.open = open_or_fail


def wrap_exchange(before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None) -> None:
    exchange = _files._exchange

    def wrapped(first: Path, second: Path) -> bool:
        before()
        done = exchange(first, second)
        after()
        return done

    _files._exchange = wrapped


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def fail_exchange() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def defect(*arguments: object) -> None:
    raise TypeError("unsupported format string passed to NoneType.__format__")


def change_a_source() -> None:
    hashes = iter(({"lib/evaluation.py": "before"}, {"lib/evaluation.py": "after"}))
    unchanged.source_hashes = lambda: next(hashes)


def long_message(*arguments: object) -> None:
    raise notebooks.NotebookError("x" * 50_000_000)


def print_without_end() -> None:
    folder = _files.REPORTS.with_name("notebooks")
    folder.mkdir()
    source = notebooks.NOTEBOOKS[0]
    notebook = nbformat.read(source, as_version=4)
    parameters = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    notebook.cells = [*parameters, nbformat.v4.new_code_cell("while True: print('x' * 999)")]
    nbformat.write(notebook, folder / source.name)
    notebooks.NOTEBOOKS = (folder / source.name, *notebooks.NOTEBOOKS[1:2])


def replay(sources, folder: Path, values, workers, execute=notebooks.execute_notebooks):
    """Stands for `execute_notebooks`."""
    executed = int(os.environ.get("EXECUTED", "0"))
    for source in sources[executed:]:
        shutil.copy(Path(os.environ["REPLAY"], source.name), folder)
    sections = {source.name: unchanged.Section(seconds=1.0, modules=[]) for source in sources}
    return sections | execute(sources[:executed], folder, values, workers)


FAULTS: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "disk full at results.json": lambda: full_disk_at("results.json"),
    "disk full at report.html": lambda: full_disk_at("report.html"),
    "disk full at weights": lambda: full_disk_at(".pt"),
    "disk full at figures": lambda: full_disk_at(".svg"),
    "disk full at sync": lambda: setattr(os, "fsync", no_space),
    "input or output error at the exchange": lambda: wrap_exchange(before=fail_exchange),
    "SIGTERM before the exchange": lambda: wrap_exchange(before=send(signal.SIGTERM)),
    "SIGHUP after the exchange": lambda: wrap_exchange(after=send(signal.SIGHUP)),
    "SIGKILL before the exchange": lambda: wrap_exchange(before=send(signal.SIGKILL)),
    "SIGKILL after the exchange": lambda: wrap_exchange(after=send(signal.SIGKILL)),
    "no exchange": lambda: setattr(ctypes, "CDLL", lambda *arguments, **named: object()),
    "code edited meanwhile": change_a_source,
    "page of another template": lambda: setattr(
        HTMLExporter, "from_notebook_node", lambda *arguments, **named: ("x", {})
    ),
    "a cell that prints without end": print_without_end,
    "defect": lambda: setattr(make, "judge", defect),
    "message of 50 MB": lambda: setattr(notebooks, "execute_notebooks", long_message),
    "SIGINT": lambda: setattr(notebooks, "execute_notebooks", lambda *arguments: send(signal.SIGINT)()),
    "SIGTERM": lambda: setattr(notebooks, "execute_notebooks", lambda *arguments: send(signal.SIGTERM)()),
    "SIGHUP": lambda: setattr(notebooks, "execute_notebooks", lambda *arguments: send(signal.SIGHUP)()),
}


def main(reports: str, fault: str, *arguments: str) -> None:
    _files.REPORTS = Path(reports)
    if "REPLAY" in os.environ:
        notebooks.execute_notebooks = replay
    FAULTS[fault]()
    sys.exit(make.main(arguments))


def forked(command: Sequence[str], environment: Mapping[str, str], said: Sequence[Path]) -> None:
    """The same in a process that was forked from one that has imported all this: there stdout and stderr are files."""
    os.environ.clear()
    os.environ |= environment
    tempfile.tempdir = None  # to be read anew
    for stream, file in enumerate(said, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), stream)
    main(*command)


if __name__ == "__main__":
    main(*sys.argv[1:])
