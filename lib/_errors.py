"""A user's mistake, a failed run, and how a command ends: one line of text and an exit code.

The Makefile reads this file before anything is installed: standard library only.
"""

import difflib
import io
import math
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import FrameType
from typing import Any

LONGEST = 2000  # characters of a message that are printed


def printable(text: object) -> str:
    """Returns a text as one line: what cannot be printed or encoded (file names can hold anything) is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def shortened(text: object) -> str:
    """Returns the first 2,000 characters of a message: an exception can carry megabytes of them."""
    whole = str(text)
    return whole if len(whole) <= LONGEST else f"{whole[:LONGEST]} ... ({len(whole):,} characters)"


def reason(error: Exception) -> str:
    """Returns what an error says, in as few words as it has, and never nothing."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class UserError(ValueError):
    """A mistake in what the user gave: one line with the file or parameter, what was expected, what was found."""


class Problem(UserError):  # noqa: N818 - one entry of a list of them
    """What is wrong with one file or folder, as three texts: file, expected, found."""

    def __init__(self, file: str | Path, expected: str, found: object) -> None:
        self.file, self.expected, self.found = printable(file), expected, printable(found)
        super().__init__(f"{self.file}: expected {self.expected}, found {self.found}")


class FailedRun(RuntimeError):  # noqa: N818 - a report or a training that did not end well, not a mistake
    """A computation that did not run to its end: which one, where, and why."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns the hint behind an unknown name: the nearest known one in either case, or all of them."""
    spelling = {one.upper(): one for one in known}
    near = difflib.get_close_matches(name.upper(), spelling, n=1, cutoff=0.5)
    return f"did you mean {spelling[near[0]]}?" if near else f"known: {', '.join(spelling.values())}"


class _Output:
    """A stream whose reader may have gone (`| head -1`): what is written afterwards is dropped."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream or io.StringIO()  # pythonw and closed descriptors have none
        if hasattr(stream, "reconfigure"):  # a Latin-1 terminal lacks signs that our texts have
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._drop()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._drop()

    def _drop(self) -> None:
        """Leads the stream nowhere, so that what it still holds can be flushed when the process ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Interrupts:
    """Handles the signals that end a command: the first raises KeyboardInterrupt, a second within 2 s does nothing.

    `make` and a closed terminal send each twice, and the second would interrupt the clearing up.
    """

    last = -math.inf  # when one came, in seconds of the monotonic clock

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        now, before = time.monotonic(), self.last
        self.last = max(now, before)
        if now - before > 2:
            raise KeyboardInterrupt


_interrupts = _Interrupts()


def ignore_interrupts() -> None:
    """Makes the rest of a command deaf to Ctrl-C: its result is in place, so "interrupted" would be untrue."""
    _interrupts.last = math.inf


@contextmanager
def _interruptible() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP (unless nohup wants it ignored) end a command as Ctrl-C does.

    SIGINT is set as well, since a shell starts commands in the background deaf to it.
    """
    _interrupts.last = -math.inf
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {ending: signal.getsignal(ending) for ending in ENDINGS}
    for ending in ENDINGS:
        if ending != signal.SIGHUP or usual[ending] != signal.SIG_IGN:
            signal.signal(ending, _interrupts)
    try:
        yield
    finally:
        for ending, handler in usual.items():
            signal.signal(ending, handler)


def run_command(command: Callable[[], int | None], unfinished: str) -> int:
    """Runs what a command line asks for, and says how it ended.

    Args:
        command: returns its exit code, or None for 0.
        unfinished: what an interrupted or failed command leaves, as a sentence.

    Returns:
        The exit code: 0 done, 1 failed, 2 a user's mistake, 130 interrupted (Ctrl-C, SIGTERM or SIGHUP).
    """
    for descriptor in range(3):  # a closed one would be given to the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    code = 1
    with redirect_stdout(_Output(sys.stdout)), redirect_stderr(_Output(sys.stderr)), _interruptible():
        try:
            code, message = command() or 0, ""
        except UserError as error:
            code, message = 2, f"error: {error}"
        except KeyboardInterrupt:
            code, message = 130, f"\ninterrupted: {unfinished}"
        except (FailedRun, OSError) as error:
            message = f"failed: {shortened(error)}\n{unfinished}"
        except Exception as error:
            message = f"failed: {type(error).__name__}: {shortened(error)}; traceback: {_traceback()}\n{unfinished}"
        if message:
            print(message, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def _traceback() -> str:
    """Writes the traceback of the exception being handled to a file, and returns the file's name."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="traceback-", suffix=".txt", encoding="utf-8", delete=False
        ) as file:
            traceback.print_exc(file=file)
            return file.name
    except OSError as error:
        return f"could not be written ({error})"
