"""`python -m lib.data`, the command behind `make data`: imports the Warwick-QU archive, or checks a folder."""

import os
import shlex
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont
from skimage.segmentation import mark_boundaries

from lib._errors import Problem, UserError, did_you_mean, run_command
from lib._files import ROOT, user_path
from lib.data.dataset import SIZE, Dataset, check_size, duplicates, shared_patients
from lib.data.folders import Found, few
from lib.data.reading import foreground_values, notes_of, read_folder
from lib.data.warwick import import_archive

SHOWN = 12  # pairs in a picture of them
SIDE, GAP, LINE, LETTER = 256, 4, 18, 7  # pixels: of images at least, between them, for a name, of its letters


def check(folder: Path, size: int | None, foreground: str, pictures: Path | None, given: Sequence[str]) -> None:
    """Prints what a folder is read as, what is left out, what is wrong and what to do next, on one screen.

    Raises:
        Problem: something is wrong.
    """
    if not folder.is_dir():
        raise Problem(f"CHECK={folder}", "a folder", "none")
    found, dataset, problems = read_folder(folder, size, foreground=foreground_values(foreground))
    _print("Read as", _read_as(found, dataset), most=24)
    _print("Left out", found.left_out)
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


def _read_as(found: Found, dataset: Dataset | None) -> list[str]:
    """Returns how a folder was understood, and what is in it if nothing is wrong."""
    notes = dataset.notes if dataset else notes_of(found)
    lines = [note for note in notes if not note.startswith("left out: ")]
    if dataset is None:
        return lines
    sizes = sorted({size for split in dataset.splits.values() for size in split.original_sizes or ()})
    lines.append(f"original sizes: {few([f'{width}x{height}' for height, width in sizes])}")
    lines += dataset.summary().to_string().splitlines()
    equal = [", ".join("/".join(image) for image in same) for same in duplicates(dataset)]
    lines += [f"equal images: {same}" for same in equal[:3]]
    if len(equal) > 3:
        lines.append(f"equal images: {len(equal) - 3} more times")
    for (first, second), patients in (shared_patients(dataset) or {}).items():
        shown = few(sorted(patients, key=lambda who: (len(who), who)), 12) or "none"  # 9 before 10
        lines.append(f"patients or groups in both {first} and {second}: {shown}")
    return lines


def _kinds(folder: Path, problems: Sequence[Problem]) -> list[str]:
    """Returns a line for each kind of problem: how many files it has, and what was found in the first three."""
    kinds = defaultdict(list)
    for problem in problems:
        file = problem.file.removeprefix(f"{folder}").lstrip(os.sep) or "the folder"
        kinds[problem.expected].append((file, problem.found))
    lines = []
    for expected, files in kinds.items():
        finds = {found for _, found in files}
        each = few([f"{file} ({found})" if len(finds) > 1 else file for file, found in files], 3)
        lines.append(f"{len(files)} x expected {expected}: {each}" + f" ({files[0][1]})" * (len(finds) == 1))
    return lines


def _draw(dataset: Dataset, file: Path) -> None:
    """Writes a picture of pairs of all splits, evenly chosen, each with its name and the outline of its mask."""
    scale = -(-SIDE // max(dataset.image_size))
    height, width = (scale * side for side in dataset.image_size)
    tiles = []
    for which, split in dataset.splits.items():
        for index in np.unique(np.linspace(0, len(split) - 1, SHOWN // len(dataset.splits)).round().astype(int)):
            image, mask = (of[index].repeat(scale, 0).repeat(scale, 1) for of in (split.images, split.masks))
            outlined = mark_boundaries(image, mask.astype(int), color=(1, 1, 0), outline_color=(0, 0, 0))
            tiles.append((f"{which} {split.names[index]}", Image.fromarray((255 * outlined).astype(np.uint8))))
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", 11)  # Pillow's own knows no accents
    picture = Image.new("RGB", (4 * (width + GAP), -(-len(tiles) // 4) * (height + LINE)), "white")
    for place, (name, tile) in enumerate(tiles):
        left, top = place % 4 * (width + GAP), place // 4 * (height + LINE)
        ImageDraw.Draw(picture).text((left, top), name[-width // LETTER :], "black", font)
        picture.paste(tile, (left, top + LINE - GAP))
    try:
        picture.save(file, "png")
    except OSError as error:
        raise UserError(f"PICTURES={file}: expected a file that can be written, found {error.strerror}") from None


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
