"""Where the project's files lie, how a folder is locked and published, and which processors there are."""

import ctypes
import errno
import glob
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from lib._errors import ignore_interrupts

ROOT: Path = Path(__file__).resolve().parent.parent  # of the project; relative dataset folders start here
REPORTS = ROOT / "reports"
RUNS = Path(os.environ.get("REPORT_RUNS", ROOT / "data" / "runs"))  # the store of finished runs
LONGEST_TMPDIR = 40  # bytes of a folder for temporary files that leave room for the name of a socket in it


def user_path(given: str) -> Path:
    """Returns a path as a user means it: "~" is a home, where there is such a user; relative ones start at ROOT."""
    return ROOT / os.path.expanduser(given)  # noqa: PTH111 - pathlib's raises RuntimeError for unknown users


def cores() -> int:
    """Returns how many processors this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu() -> str:
    """Returns the processor's name, with the numbers that tell models of one name apart where they are known."""
    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    names = re.findall(r"model name\s*:\s*(.+)", told)
    numbers = [
        f"{kind} {found[0]}" for kind in ("family", "model") if (found := re.findall(rf"{kind}\s*: (\d+)", told))
    ]
    return f"{names[0]} ({', '.join(numbers)})" if names else platform.processor()


def lock(folder: Path) -> FileLock | None:
    """Locks a folder, which need not be there; returns what `unlock` needs, or None where another process has it.

    What is locked is a file beside the folder. The lock ends with its process, however that ends, or with the object.

    Raises:
        OSError: the file system has no locks that end with their process.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        held.acquire()
    except Timeout:
        return None
    return held


def unlock(held: FileLock) -> None:
    """Lets other processes have the folder."""
    Path(held.lock_file).unlink(missing_ok=True)  # still locked: who opened it before sees that it is gone
    held.release()


def _sync(path: Path) -> None:
    """Waits until a file's content, or a folder's list of names, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges two folders of one parent in one step (Linux 3.15 and later); returns False where that cannot be."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    if renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):  # of an old kernel, or a file system without it
        return False
    raise OSError(code, os.strerror(code), str(second))


def publish(new: Path, target: Path) -> None:
    """Puts a finished folder in the place of an old one, at every moment whole: the old one or the new one.

    Both survive a power cut. The old one is deleted.
    """
    for path in (*new.rglob("*"), new):
        _sync(path)
    recover(target)
    incoming = Path(tempfile.mkdtemp(prefix=f".{target.name}.next-", dir=target.parent))
    new.rename(incoming)  # beside the target: a folder without write permission can be renamed within its parent only
    ignore_interrupts()
    try:
        if not target.exists():
            incoming.rename(target)
        elif not _exchange(incoming, target):
            print(f"note: {target.parent} cannot exchange folders in one step; replaced in two", file=sys.stderr)
            target.rename(_set_aside(target))
            incoming.rename(target)
    finally:
        _sync(target.parent)
        recover(target)


def _set_aside(target: Path) -> Path:
    """Returns where the old folder is between two steps, where one step cannot be."""
    return target.with_name(f".{target.name}.old")


def recover(target: Path) -> None:
    """Puts back an old folder where its replacement was cut off, and deletes what is left beside a whole one."""
    old = _set_aside(target)
    if old.exists() and not target.exists():
        old.rename(target)
    for left in (old, *leftovers(target, "next-*")):
        delete(left)


def leftovers(target: Path, kind: str = "*") -> list[Path]:
    """Returns what lies beside a folder while it is made or replaced, or since that was cut off."""
    return list(target.parent.glob(f".{glob.escape(target.name)}.{kind}"))


def delete(folder: Path) -> None:
    """Deletes a folder with all that it holds, and says where that fails; nothing there is fine."""
    with suppress(OSError):  # said below
        folder.chmod(0o700)  # a folder without write permission keeps its files
        for parent, names, _ in os.walk(folder):
            for inner in (Path(parent, name) for name in names):
                if not inner.is_symlink():
                    inner.chmod(0o700)
    with suppress(OSError):
        shutil.rmtree(folder)
    if folder.exists():
        print(f"note: could not delete {folder}", file=sys.stderr)


@contextmanager
def temporary_files(staging: Path) -> Iterator[Path]:
    """Lends a temporary folder for a locked staging folder, after deleting the one that a killed process left.

    Its name cannot be guessed, so that nobody can take it; it is kept in the staging folder. Kernels have sockets
    in it, whose paths must be shorter than 108 bytes.
    """
    record = staging / "temporary"
    if record.is_file() and (left := Path(record.read_text(encoding="utf-8"))).name.startswith("report-"):
        delete(left)
    usual = Path(tempfile.gettempdir())
    base = usual if len(os.fsencode(usual)) <= LONGEST_TMPDIR else Path("/tmp")
    folder = Path(tempfile.mkdtemp(prefix="report-", dir=base))
    record.write_text(str(folder), encoding="utf-8")
    try:
        yield folder
    finally:
        delete(folder)
