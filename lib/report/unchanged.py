"""What changed since a report was made, and which of its notebooks need no execution; also behind `make why`.

A notebook stays where all that its kernel read is as it was: its file, the modules of lib that it had imported, what
all depend on, and stored runs. Standard library alone: torch takes longer to import than the answer may take.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import site
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

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
# Not imported by kernels, but with a say in how notebooks are executed; the rest of lib/report makes the page.
EXECUTING = tuple(f"lib/report/{name}.py" for name in ("make", "notebooks", "parameters", "unchanged"))
EMBEDDED = "synthetic"  # the set that `lib` draws; other data are folders
# Environment variables that may have a say; not KMP_, which scikit-learn sets when it is imported, nor PYTHON, which
# `make` sets to its argument: it names the interpreter, as a path.
VARIABLES = re.compile("(ATEN|DASK|LD|MKL|OMP|OPENBLAS|REPORT|TORCH)_|PYTHON.")
LARGEST = 4 * 2**30  # bytes of data that are compared, which takes seconds; a report of more is always made anew
SHOWN = 3  # reasons that `make why` names

Hashes = dict[str, str | None]  # by name of a file or of another input; None where it cannot be known: never equal
Inputs = dict[str, Hashes]  # of "machine", "code" and "data"


class Section(TypedDict):
    """How a notebook was executed."""

    seconds: float
    modules: list[str]  # of lib that its kernel had imported at its end, by their paths in the project


@dataclass(frozen=True)
class Last:
    """The report that was last made with some arguments, compared with what it would be made of now.

    Attributes:
        reasons: why to make it anew: no reason, no need.
        told: when it was made, and where its page is.
        folder, record: of the report, and what its RECORD says.
        current: names of its notebooks of which nothing has changed but, perhaps, the stored runs.
    """

    reasons: list[str]
    told: str = ""
    folder: Path = Path()
    record: dict[str, Any] = field(default_factory=dict)
    current: Sequence[str] = ()

    def reusable(self, runs: Hashes) -> dict[str, Section]:
        """Returns the notebooks that need no execution: none where runs were trained again, whose seconds they show."""
        same = self.current and not _differing(self.record["runs"], runs)
        return {name: self.record["sections"][name] for name in self.current if same}

    def reuse(self, runs: Hashes, folder: Path) -> dict[str, Section]:
        """Copies the executed notebooks that are reusable into a folder, and returns them by name."""
        reused = self.reusable(runs)
        for name in reused:
            with suppress(OSError):  # it may be gone by now
                shutil.copyfile(self.folder / "notebooks" / name, folder / name)
        outputs = self.record.get("outputs", {})  # compared once more, now that nobody else writes to them
        return {name: of for name, of in reused.items() if _file_hash(folder / name) == outputs[f"notebooks/{name}"]}


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
        "the processor": _files.cpu(),
        "the number of processors": "" if "WORKERS" in given else str(_files.cores()),
        "the operating system": platform.platform(),
        "the Python interpreter": _text_hash(sys.executable, sys.version),
        "an installed package": _text_hash(installed),
    } | {f"the environment variable {name}": value for name, value in sorted(variables.items())}
    return {"machine": {**machine}, "code": source_hashes(), "data": data_hashes(given.get("DATASET", EMBEDDED))}


def run_hashes(names: Iterable[str]) -> Hashes:
    """Returns the SHA-256 of files in the store of runs, by their paths in it."""
    return {name: _file_hash(_files.RUNS / name) for name in names}


def write_record(
    report: Path, arguments: Iterable[str], made_of: Inputs, sections: Mapping[str, Section], runs: Hashes
) -> None:
    """Writes into a finished report what it was made of, as `inputs` and `run_hashes` gave it before it was read."""
    files = (path for path in sorted(report.rglob("*")) if path.is_file() and path.name != RECORD)
    record = {
        "name": report.name,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "arguments": _key(arguments),
        "inputs": made_of,
        "sections": sections,
        "runs": runs,
        "outputs": {str(path.relative_to(report)): _file_hash(path) for path in files},
    }
    (report / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _as_they_were(sections: Mapping[str, Section], before: Hashes, now: Hashes) -> list[str]:
    """Returns the names of notebooks that no changed file of the project has a say in."""
    changed = _differing(before, now)
    same = before.keys() - set(changed)
    for name in changed:
        of_few = name.startswith(("notebooks/", "lib/report/template/")) or (name.endswith(".py") and name in before)
        if name in EXECUTING or not of_few:  # a new module may take the place of any other
            return []
    return [name for name, section in sections.items() if same >= {f"notebooks/{name}", *section["modules"]}]


def find_last(arguments: Iterable[str], now: Inputs) -> Last:
    """Returns the report that was last made with these arguments, compared with what it would be made of now."""
    for file in sorted(_files.REPORTS.glob(f"*/{RECORD}")):
        report = file.parent
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or just being replaced
            record = json.loads(file.read_bytes())
            if (record["name"], record["arguments"]) != (report.name, _key(arguments)) or report.is_symlink():
                continue  # another one, or a copy
            made = datetime.fromisoformat(record["made"]).astimezone()
            page = (report / "report.html").relative_to(_files.REPORTS.parent)
            outputs = {name: _file_hash(report / name) for name in record["outputs"]}
            machine, code, data = (_differing(record["inputs"][part], now[part]) for part in now)
            results = [f"reports/{report.name}/{name}" for name in _differing(record["outputs"], outputs)]
            reasons = [f"{name} changed" for name in (*machine, *code, *(f"data: {name}" for name in data), *results)]
            if _files.leftovers(report) or report.with_name(f"{report.name}.failed").exists():
                reasons.append(f"reports/{report.name} is in the making, or was left unfinished")
            same = _as_they_were(record["sections"], record["inputs"]["code"], now["code"])
            kept = [name for name in same if f"reports/{report.name}/notebooks/{name}" not in results]
            told = f"unchanged since {made:%Y-%m-%d %H:%M}: {page}"
            return Last(reasons, told, report, record, [] if machine or data else kept)
    return Last(["no report was made with these arguments"])


def without_force(arguments: Iterable[str]) -> tuple[list[str], bool]:
    """Returns the arguments without FORCE=1, and whether it was among them; raises UserError for another value."""
    rest = [argument for argument in arguments if not argument.startswith("FORCE=")]
    forced = [argument for argument in arguments if argument.startswith("FORCE=")]
    if wrong := [argument for argument in forced if argument != "FORCE=1"]:
        raise UserError(f"{printable(wrong[0])}: expected FORCE=1, which makes a report anew, or no FORCE")
    return rest, bool(forced)


def _redone(last: Last) -> str:
    """Returns what of a report would be made anew, and because of what."""
    if not last.reasons:
        return f"nothing: {last.told}"
    kept = last.reusable(run_hashes(last.record.get("runs", ())))
    reasons = [*last.reasons, *(["a stored run changed"] if last.current and not kept else [])]
    stale = [Path(name).stem for name in last.record.get("sections", ()) if name not in kept]
    notebooks = f"{len(stale)} of {len(stale) + len(kept)} notebooks ({', '.join(stale)}) and " if stale else ""
    more = f" and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
    return f"{f'{notebooks}the page' if kept else 'everything'}, because {printable(', '.join(reasons[:SHOWN]))}{more}"


def why(arguments: Sequence[str]) -> None:
    """Prints what `make report` and `make study` would redo with these arguments, and because of what."""
    given, forced = without_force(arguments)
    now = inputs(given)
    for command, asked in (("report", given), ("study", ["STUDY=yes", *given])):
        print(f"make {command}: {_redone(Last(['of FORCE=1']) if forced else find_last(asked, now))}")


if __name__ == "__main__":
    sys.exit(run_command(lambda: why(sys.argv[1:]), "nothing was made."))
