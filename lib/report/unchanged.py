"""Whether anything changed since a report was made: asked by `make report` before it starts, and by `make why`.

It imports the standard library alone: torch takes longer to import than the answer may take.
"""

import hashlib
import json
import os
import platform
import re
import site
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from lib import _files
from lib._errors import FailedRun, UserError, printable, run_command

UNFINISHED = "no report was written or replaced; finished runs are kept."
RECORD = "inputs.json"  # in a report: what it was made of, and the hashes of its other files
MADE_OF = (
    "lib/**/*.py",
    "lib/**/*.mplstyle",
    "lib/report/template/*",
    "notebooks/*.ipynb",
    "reports/reference/**/*.json",
    "requirements.lock",
)
EMBEDDED = "synthetic"  # the set that `lib` draws; other data are folders
# Environment variables that may have a say; not KMP_, which scikit-learn sets when it is imported, nor PYTHON, which
# `make` sets to its argument: it names the interpreter, as a path.
VARIABLES = re.compile("(ATEN|DASK|LD|MKL|OMP|OPENBLAS|REPORT|TORCH)_|PYTHON.")
LARGEST = 4 * 2**30  # bytes of data that are compared, which takes seconds; a report of more is always made anew
SHOWN = 3  # reasons that `make why` names

Hashes = dict[str, str | None]  # by name of a file or of another input; None where it cannot be known: never equal
Inputs = dict[str, Hashes]  # of "machine", "code" and "data"


def cpu() -> str:
    """Returns the processor's name, with the numbers that tell models of one name apart where they are known."""
    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.exists() else ""
    names = re.findall(r"model name\s*:\s*(.+)", told)
    numbers = [
        f"{kind} {found[0]}" for kind in ("family", "model") if (found := re.findall(rf"{kind}\s*: (\d+)", told))
    ]
    return f"{names[0]} ({', '.join(numbers)})" if names else platform.processor()


def _file_hash(path: Path) -> str | None:
    """Returns the SHA-256 of a file; None for one that cannot be read, a pipe or a device."""
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    return None


def source_hashes() -> Hashes:
    """Returns the SHA-256 of each file, beside the data, that a report is made of, by its path in the project."""
    files = sorted({file for pattern in MADE_OF for file in _files.ROOT.glob(pattern)})
    return {str(file.relative_to(_files.ROOT)): _file_hash(file) for file in files}


def check_unchanged(before: Mapping[str, str | None]) -> None:
    """Raises FailedRun for files that changed while a report was made, whose parts would contradict each other."""
    if changed := _differing(before, source_hashes()):
        raise FailedRun(f"{', '.join(changed)}: expected to stay as it was at the start, found it changed; start again")


def _differing(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> list[str]:
    names = sorted(before.keys() | after.keys())
    return [name for name in names if before.get(name) is None or before.get(name) != after.get(name)]


def _below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yields folders and files below a folder; a link back to a folder above is not followed."""
    here = folder.resolve()
    for path in sorted(folder.iterdir()) if here not in above else ():
        yield path
        if path.is_dir():
            yield from _below(path, (*above, here))


def data_hashes(dataset: str) -> Hashes:
    """Returns the SHA-256 of every file in a dataset's folder, and of where the folder is; nothing of EMBEDDED."""
    if dataset == EMBEDDED:
        return {}
    folder, size = _files.user_path(dataset), 0
    try:
        hashes: Hashes = {"its folder": _text_hash(str(folder.resolve()))}
        for path in _below(folder):
            size += path.stat().st_size
            if size > LARGEST:
                return {"too large to compare, may have": None}
            hashes[str(path.relative_to(folder))] = "folder" if path.is_dir() else _file_hash(path)
    except (OSError, ValueError, RuntimeError):
        return {"unreadable, may have": None}
    return hashes


def _text_hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _given(arguments: Iterable[str]) -> dict[str, str]:
    return dict(argument.partition("=")[::2] for argument in arguments)  # the last one of a name counts


def _key(arguments: Iterable[str]) -> str:
    """Returns what tells a report's arguments from others: a hash, since paths are private."""
    return _text_hash(sorted(_given(arguments).items()))


def inputs(arguments: Iterable[str]) -> Inputs:
    """Returns everything that a report with these arguments would be made of now."""
    given = _given(arguments)
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    installed = [
        (path.name, path.stat().st_mtime_ns)
        for place in (*site.getsitepackages(), *user)
        for path in sorted(Path(place).glob("*-info"))
    ]
    variables = {name: _text_hash(value) for name, value in os.environ.items() if VARIABLES.match(name)}
    machine = {
        "the processor": cpu(),
        "the number of processors": "" if "WORKERS" in given else str(_files.cores()),
        "the operating system": platform.platform(),
        "the Python interpreter": _text_hash(sys.executable, sys.version),
        "an installed package": _text_hash(installed),
    } | {f"the environment variable {name}": value for name, value in sorted(variables.items())}
    return {"machine": {**machine}, "code": source_hashes(), "data": data_hashes(given.get("DATASET", EMBEDDED))}


def write_record(report: Path, arguments: Iterable[str], made_of: Inputs) -> None:
    """Writes into a finished report what it was made of, as `inputs` gave it before anything was read."""
    files = (path for path in sorted(report.rglob("*")) if path.is_file() and path.name != RECORD)
    record = {
        "name": report.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": _key(arguments),
        "inputs": made_of,
        "outputs": {str(path.relative_to(report)): _file_hash(path) for path in files},
    }
    (report / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def compare_with_last(arguments: Iterable[str], now: Inputs) -> tuple[str, list[str]]:
    """Returns when and as what the report of these arguments was made, and why to make it anew: no reason, no need."""
    for file in sorted(_files.REPORTS.glob(f"*/{RECORD}")):
        report = file.parent
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or just being replaced
            record = json.loads(file.read_bytes())
            if (record["name"], record["arguments"]) != (report.name, _key(arguments)) or report.is_symlink():
                continue  # another one, or a copy
            made = datetime.fromisoformat(record["made"]).astimezone()
            page = (report / "report.html").relative_to(_files.REPORTS.parent)
            outputs = {name: _file_hash(report / name) for name in record["outputs"]}
            reasons = [
                *(name for part in ("machine", "code") for name in _differing(record["inputs"][part], now[part])),
                *(f"data: {name}" for name in _differing(record["inputs"]["data"], now["data"])),
                *(f"reports/{report.name}/{name}" for name in _differing(record["outputs"], outputs)),
            ]
            reasons = [f"{name} changed" for name in reasons]
            if any(
                re.match(rf"\.{re.escape(report.name)}\.|{re.escape(report.name)}\.failed$", path.name)
                for path in _files.REPORTS.iterdir()
            ):
                reasons.append(f"reports/{report.name} is in the making, or was left unfinished")
            return f"unchanged since {made:%Y-%m-%d %H:%M}: {page}", reasons
    return "", ["no report was made with these arguments"]


def without_force(arguments: Iterable[str]) -> tuple[list[str], bool]:
    """Returns the arguments without FORCE=1, and whether it was among them; raises UserError for another value."""
    rest = [argument for argument in arguments if not argument.startswith("FORCE=")]
    forced = [argument for argument in arguments if argument.startswith("FORCE=")]
    if wrong := [argument for argument in forced if argument != "FORCE=1"]:
        raise UserError(f"{printable(wrong[0])}: expected FORCE=1, which makes a report anew, or no FORCE")
    return rest, bool(forced)


def why(arguments: Sequence[str]) -> None:
    """Prints what `make report` and `make study` would redo with these arguments, and because of what."""
    given, forced = without_force(arguments)
    now = inputs(given)
    for command, asked in (("report", given), ("study", ["STUDY=yes", *given])):
        unchanged, reasons = compare_with_last(asked, now)
        reasons = ["of FORCE=1"] if forced else reasons
        more = f" and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        because = printable(", ".join(reasons[:SHOWN])) + more
        print(f"make {command}: {f'everything, because {because}' if reasons else f'nothing: {unchanged}'}")


if __name__ == "__main__":
    sys.exit(run_command(lambda: why(sys.argv[1:]), "nothing was made."))
