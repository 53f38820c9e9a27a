"""`python -m lib.data`, the command behind `make data`: imports the Warwick-QU archive, or checks a folder."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lib._errors import Problem, UserError, did_you_mean, run_command
from lib._files import ROOT
from lib.data.dataset import SIZE, check_size, duplicates, shared_patients
from lib.data.reading import read_folder
from lib.data.warwick import import_archive


def check(folder: Path, size: int | None) -> None:
    """Prints what is in a folder; or, as a table, everything that is wrong with it, and raises UserError."""
    if not folder.is_dir():
        raise Problem(f"CHECK={folder}", "a folder", "none")
    dataset, problems = read_folder(folder, size)
    if dataset is None:
        shown = [(p.file.removeprefix(f"{folder}{os.sep}"), p.expected, p.found) for p in problems]
        table = [("file", "expected", "found"), *shown]
        file_width, expected_width = (max(len(row[column]) for row in table) for column in (0, 1))
        for file, expected, found in table:
            print(f"{file:{file_width}}  {expected:{expected_width}}  {found}")
        raise Problem(folder, "a dataset without problems", f"{len(problems)}, listed above")
    print(dataset.summary().to_string())
    sizes = {size for split in dataset.splits.values() for size in split.original_sizes or ()}
    few, more = sorted(sizes)[:12], f", and {len(sizes) - 12} more" if len(sizes) > 12 else ""
    print("original sizes:", ", ".join(f"{width}x{height}" for height, width in few) + more)
    for same in duplicates(dataset):
        print("equal images:", ", ".join(f"{split}/{name}" for split, name in same))
    for (first, second), patients in (shared_patients(dataset) or {}).items():
        print(f"patients or groups in both {first} and {second}:", ", ".join(patients) or "none")


def import_or_check(arguments: Sequence[str]) -> None:
    """Carries out ARCHIVE=FILE [SIZE=128] (import) or CHECK=DIR [SIZE=...] (check)."""
    known = ("ARCHIVE", "CHECK", "SIZE")
    given = {name: value for name, _, value in (argument.partition("=") for argument in arguments)}
    for name in sorted(given.keys() - set(known)):
        raise UserError(f"{name}: unknown; {did_you_mean(name, known)}")
    if ("ARCHIVE" in given) == ("CHECK" in given):
        raise UserError("make data: expected either ARCHIVE=FILE or CHECK=DIR")
    size = check_size(given["SIZE"]) if "SIZE" in given else None
    if "CHECK" in given:
        check(ROOT / Path(given["CHECK"]).expanduser(), size)
        return
    made = import_archive(ROOT / Path(given["ARCHIVE"]).expanduser(), size or SIZE).relative_to(ROOT)
    print(f"{made}: {len(list((ROOT / made).glob('*/image_*.png')))} pairs; next: make report DATASET={made}")


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    return run_command(lambda: import_or_check(arguments), "nothing was written or replaced.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
