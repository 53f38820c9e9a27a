"""`python -m lib.data`, the command behind `make data`: imports the Warwick-QU archive, or checks a folder."""

import difflib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lib._errors import Problem, UserError
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


def main(arguments: Sequence[str]) -> int:
    """Runs ARCHIVE=FILE [SIZE=128] (import) or CHECK=DIR [SIZE=..] (check); returns the exit code."""
    known = ("ARCHIVE", "CHECK", "SIZE")
    try:
        given = {name: value for name, _, value in (argument.partition("=") for argument in arguments)}
        for name in sorted(given.keys() - set(known)):
            near = difflib.get_close_matches(name, known, 1, 0.4)
            raise UserError(
                f"{name}: unknown; " + (f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}")
            )
        if ("ARCHIVE" in given) == ("CHECK" in given):
            raise UserError("make data: expected either ARCHIVE=FILE or CHECK=DIR")
        size = check_size(given["SIZE"]) if "SIZE" in given else None
        if "CHECK" in given:
            check(ROOT / Path(given["CHECK"]).expanduser(), size)
            return 0
        made = import_archive(ROOT / Path(given["ARCHIVE"]).expanduser(), size or SIZE).relative_to(ROOT)
        print(f"{made}: {len(list((ROOT / made).glob('*/image_*.png')))} pairs; next: make report DATASET={made}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: nothing was written or replaced.", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
