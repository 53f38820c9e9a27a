"""A user's mistake, a failed run, and how a message names what is wrong."""

from pathlib import Path


def printable(text: object) -> str:
    """Returns a text as one line: what cannot be printed or encoded (file names can hold anything) is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


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
