"""`python -m lib.data`, the command behind `make data`: imports the Warwick-QU archive, or checks a folder."""

import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from lib._errors import Problem, UserError, did_you_mean, run_command
from lib._files import ROOT, user_path
from lib.data.dataset import SIZE, Dataset, check_size, duplicates, shared_patients
from lib.data.reading import Reading, foreground_values, notes_of, read_folder
from lib.data.warwick import import_archive

SHOWN = 12  # pairs in a picture of them


def check(folder: Path, size: int | None, foreground: str, pictures: Path | None, given: Sequence[str]) -> None:
    """Prints what a folder is read as, what is left out, what is wrong and what to do next, on one screen.

    Raises:
        Problem: something is wrong.
    """
    if not folder.is_dir():
        raise Problem(f"CHECK={folder}", "a folder", "none")
    reading = read_folder(folder, size, foreground=foreground_values(foreground))
    dataset, problems = reading.dataset, reading.problems
    _print("Read as", _read_as(reading), most=24)
    _print("Left out", reading.found.left_out)
    _print("Wrong", _kinds(folder, problems))
    if dataset is None:
        _print("Next", ["mend what is wrong, and check again"])
        raise Problem(folder, "a dataset without problems", f"{len(problems)}, listed above")
    if pictures:
        _draw(dataset, pictures)
    command = " ".join(["make report", *map(shlex.quote, given)])
    _print("Next", [f"look at {pictures}", command] if pictures else [command])


def _print(title: str, lines: Sequence[str], most: int = 12) -> None:
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    print(f"{title}:", *(lines[:most] or ["nothing"]), *more, sep="\n  ")


def _read_as(reading: Reading) -> list[str]:
    """Returns how a folder was understood, and what is in it if nothing is wrong."""
    dataset = reading.dataset
    notes = dataset.notes if dataset else notes_of(reading.found)
    lines = [note for note in notes if not note.startswith("left out: ")]
    if dataset is None:
        return lines
    sizes = sorted({size for split in dataset.splits.values() for size in split.original_sizes or ()})
    shown = ", ".join(f"{width}x{height}" for height, width in sizes[:6])
    more = f" and {len(sizes) - 6} more" if len(sizes) > 6 else ""
    lines += [f"original sizes: {shown}{more}", *dataset.summary().to_string().splitlines()]
    lines += ["equal images: " + ", ".join("/".join(image) for image in same) for same in duplicates(dataset)[:3]]
    for (first, second), patients in (shared_patients(dataset) or {}).items():
        lines.append(f"patients or groups in both {first} and {second}: {', '.join(patients[:12]) or 'none'}")
    return lines


def _kinds(folder: Path, problems: Sequence[Problem]) -> list[str]:
    """Returns a line for each kind of problem: how many files it has, and what was found in the first three."""
    kinds = defaultdict(list)
    for problem in problems:
        file = problem.file.removeprefix(f"{folder}").lstrip(os.sep) or "the folder"
        kinds[problem.expected].append(f"{file} ({problem.found})")
    return [
        f"{len(files)} x expected {expected}: {', '.join(files[:3])}"
        + (f"; and {len(files) - 3} more" if len(files) > 3 else "")
        for expected, files in kinds.items()
    ]


def _draw(dataset: Dataset, file: Path) -> None:
    """Writes a picture of pairs of all splits, evenly chosen, with the outlines of their masks in yellow."""
    parts = [split.part(_even(len(split), SHOWN // len(dataset.splits))) for split in dataset.splits.values()]
    images, masks = (np.concatenate([getattr(part, kind) for part in parts]) for kind in ("images", "masks"))
    outlines = masks & ~ndimage.binary_erosion(masks, np.ones((1, 3, 3)), border_value=1)
    images[outlines] = (255, 255, 0)
    images = np.pad(images, ((0, -len(images) % 4), (2, 2), (2, 2), (0, 0)), constant_values=255)
    rows = [np.concatenate(list(images[start : start + 4]), axis=1) for start in range(0, len(images), 4)]
    try:
        Image.fromarray(np.concatenate(rows)).save(file, "png")
    except OSError as error:
        raise UserError(f"PICTURES={file}: expected a file that can be written, found {error.strerror}") from None


def _even(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))


def import_or_check(arguments: Sequence[str]) -> None:
    """Carries out ARCHIVE=FILE [SIZE=128] (import) or CHECK=DIR [SIZE=] [FOREGROUND=] [PICTURES=FILE.png] (check)."""
    known = ("ARCHIVE", "CHECK", "FOREGROUND", "PICTURES", "SIZE")
    given = {name: value for name, _, value in (argument.partition("=") for argument in arguments)}
    for name in sorted(given.keys() - set(known)):
        raise UserError(f"{name}: unknown; {did_you_mean(name, known)}")
    if ("ARCHIVE" in given) == ("CHECK" in given):
        raise UserError("make data: expected either ARCHIVE=FILE or CHECK=DIR")
    size = check_size(given["SIZE"]) if "SIZE" in given else None
    if "CHECK" in given:
        pictures = user_path(given["PICTURES"]) if given.get("PICTURES") else None
        again = [f"{name}={given[name]}" for name in ("SIZE", "FOREGROUND") if name in given]
        folder = user_path(given["CHECK"])
        check(folder, size, given.get("FOREGROUND", ""), pictures, [f"DATASET={given['CHECK']}", *again])
        return
    made = import_archive(user_path(given["ARCHIVE"]), size or SIZE).relative_to(ROOT)
    print(f"{made}: {len(list((ROOT / made).glob('*/image_*.png')))} pairs; next: make report DATASET={made}")


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    return run_command(lambda: import_or_check(arguments), "nothing was written or replaced.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
