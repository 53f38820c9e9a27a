"""Where the project's files lie, how a folder is locked and published, and how many processors there are."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

ROOT: Path = Path(__file__).resolve().parent.parent  # of the project; relative dataset folders start here
REPORTS = ROOT / "reports"


def cores() -> int:
    """Returns how many processors this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def lock(folder: Path) -> int | None:
    """Makes a folder and locks it; returns what `unlock` needs, or None where another process has it."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # who had it removed it between two of our steps
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(descriptor), folder.stat()):
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def unlock(descriptor: int) -> None:
    """Lets other processes have the folder."""
    os.close(descriptor)


def _set_aside(target: Path) -> Path:
    """Returns where the old report is while the new one takes its place."""
    return target.with_name(f".{target.name}.old")


def publish(new: Path, target: Path) -> None:
    """Puts a finished report in the place of the old one, which stays if anything fails before."""
    recover(target)
    if target.exists():
        target.rename(_set_aside(target))
    try:
        new.rename(target)
    finally:
        recover(target)


def recover(target: Path) -> None:
    """Puts back the old report where publishing was cut off between its two steps, and clears it away after both."""
    old = _set_aside(target)
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        old.rename(target)


def temporary_folder(target: Path) -> Path:
    """Returns where temporary files lie while a report is made; named after it, so that the next one finds them."""
    return Path(tempfile.gettempdir()) / f"report-{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}"
