"""Finding the pairs of images and masks in a folder, their splits and their patients, and all that is wrong with them.

Problems are added to a list that the functions are given, so that one pass finds them all.
"""

import csv
import hashlib
import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lib._errors import Problem
from lib.data.images import SUFFIXES

SPLITS = {"train": "train", "test": "test", "testb": "testB"}  # names of folders in small letters: names of splits
LAYOUTS = "Train and Test, or images and masks"
FOREIGN = {".gif", ".webp", ".jp2", ".svs", ".npy", ".npz"}  # pictures in what we do not read
OF_SYSTEMS = {"thumbs.db", "desktop.ini"}  # what file managers leave in a folder, besides hidden files
# What names tell masks from images by: a_mask.png, img_7.tif, GT-3.png.
KIND = re.compile(r"(?:^|[ ._-])(?:images?|img|masks?|labels?|seg|segmentation|gt|anno|annotations?)(?=[ ._\d-]|$)")
Row = dict[str, str]


class Pair(NamedTuple):
    """One image and its mask.

    Attributes:
        split: "train", "test" or "testB". name: of the image without its suffix.
        group: patient or other group, if known. original: height and width before an import, if recorded.
    """

    split: str
    name: str
    image: Path
    mask: Path
    group: str | None = None
    original: tuple[int, int] | None = None


def read_table(
    file: str | Path, data: bytes, columns: Sequence[str], keys: int, problems: list[Problem]
) -> dict[tuple[str, ...], Row]:
    """Reads a CSV file: UTF-8, line ends of any system, a header, values that may be padded with spaces.

    Args:
        file: what messages call it. data: its content.
        columns: that it must have, filled in every row; the first `keys` of them name a row.
        problems: receives what is wrong; such rows are left out.

    Returns:
        All columns of each row by its key.
    """
    try:
        lines = io.StringIO(data.decode("utf-8-sig"), newline=None)  # None: a bare CR ends a line, too
        rows = [[value.strip() for value in row] for row in csv.reader(lines, strict=True, skipinitialspace=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        problems.append(Problem(file, "a table in CSV and UTF-8", error))
        return {}
    header = rows[0] if rows else []
    if not set(columns) <= set(header) or len(set(header)) < len(header):
        problems.append(Problem(file, f"the columns {', '.join(columns)}, once each", ", ".join(header) or "none"))
        return {}
    table: dict[tuple[str, ...], Row] = {}
    for number, values in enumerate(rows[1:], start=2):
        if not any(values):
            continue
        row = dict(zip(header, values, strict=False))
        key = tuple(row.get(column, "") for column in columns[:keys])
        if len(values) != len(header):
            problems.append(Problem(file, f"{len(header)} values in row {number}", len(values)))
        elif empty := [column for column in columns if not row[column]]:
            problems.append(Problem(file, f"a value for {empty[0]} in row {number}", "none"))
        elif key in table:
            problems.append(Problem(file, f"one row for {' in '.join(key)}", "another in row " + str(number)))
        else:
            table[key] = row
    return table


def choose_test(groups: Iterable[str], fraction: float) -> set[str]:
    """Returns which groups are for testing: whole ones, in the order of their names' hashes.

    Args:
        groups: of each image, at least two different ones.
        fraction: share of images wanted in the test split; as near as whole groups allow on this way, and neither
            split is empty.
    """
    sizes = Counter(groups)
    wanted, taken, chosen = fraction * sizes.total(), 0, set()
    order = sorted(sizes, key=lambda group: hashlib.sha256(group.encode()).digest())
    for group in order:
        if abs(taken + sizes[group] - wanted) < abs(taken - wanted):
            taken += sizes[group]
            chosen.add(group)
    if not chosen or len(chosen) == len(sizes):
        chosen ^= {min(order, key=sizes.__getitem__)}
    return chosen


def find_pairs(folder: Path, test_fraction: float, problems: list[Problem]) -> list[Pair]:
    """Returns the pairs of a folder in one of the layouts of `lib.data.reading.load_dataset`, by split and name."""
    entries = _entries(folder, problems)
    parts = [entry for entry in entries if entry.name.lower() in SPLITS and entry.is_dir()]
    flat = not parts and any(entry.name in ("images", "masks") for entry in entries)
    if flat:
        pairs = _find_by_stem(folder, "train", problems)
    elif not parts:
        shown = ", ".join(entry.name for entry in entries[:4]) or "nothing"
        if inner := [entry / "images" for entry in entries[:4] if (entry / "images").is_dir()]:
            hint = (
                "; docs/own-images.md shows how to join them"
                if all(len(_entries(path, [])) == 1 for path in inner)
                else ""
            )
            shown = f"them inside of {shown}{hint}"
        problems.append(Problem(folder, f"folders {LAYOUTS}", shown))
        return []
    else:
        by_split: dict[str, list[Pair]] = {split: [] for split in SPLITS.values()}
        for part in parts:
            split = SPLITS[part.name.lower()]
            if any(SPLITS[other.name.lower()] == split for other in parts if other < part):
                problems.append(Problem(part, f"one folder for {split}", "another in other letters"))
                continue
            by_stem = (part / "images").exists() or (part / "masks").exists()
            by_split[split] = (_find_by_stem if by_stem else _find_by_number)(part, split, problems)
        for name in ("Train", "Test"):
            if name.lower() not in {part.name.lower() for part in parts}:
                problems.append(Problem(folder / name, "a folder of images and masks", "none"))
        pairs = [pair for of_split in by_split.values() for pair in of_split]
    pairs = _add_groups(folder, pairs, flat, problems)
    return _divide(folder, pairs, test_fraction, problems) if flat and pairs else pairs


def _divide(folder: Path, pairs: list[Pair], test_fraction: float, problems: list[Problem]) -> list[Pair]:
    groups = [pair.name if pair.group is None else pair.group for pair in pairs]
    if len(set(groups)) < 2:
        problems.append(Problem(folder, "at least two images, of two groups, to divide", len(set(groups))))
        return pairs
    test = choose_test(groups, test_fraction)
    divided = [p._replace(split="test" if group in test else "train") for p, group in zip(pairs, groups, strict=True)]
    return sorted(divided, key=lambda pair: pair.split == "test")


def _entries(folder: Path, problems: list[Problem]) -> list[Path]:
    """Returns what a folder holds, by name, without hidden files and those of OF_SYSTEMS."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        problems.append(Problem(folder, "a folder that can be read", error.strerror))
        return []
    entries = [path for path in entries if not path.name.startswith(".") and path.name.lower() not in OF_SYSTEMS]
    for path in entries:
        if not path.name.isprintable():
            problems.append(Problem(path, "a file name of printable characters", "others"))
    return [path for path in entries if path.name.isprintable()]


def _by_key(paths: Iterable[Path], prefix: str, problems: list[Problem]) -> dict[str, Path]:
    """Returns files by stem without prefix, in one way of writing letters with accents (systems differ in it)."""
    found: dict[str, Path] = {}
    for path in paths:
        key = unicodedata.normalize("NFC", path.stem).removeprefix(prefix)
        if not path.is_file():  # a folder, a pipe that would never end, a link to nothing or to itself
            problems.append(Problem(path, "a file", "a folder" if path.is_dir() else "none behind this name"))
        if key in found:
            problems.append(Problem(path, f"one picture called {path.stem}", f"{found[key].name} as well"))
        else:
            found[key] = path
    return found


def _pair_up(
    split: str,
    images: dict[str, Path],
    masks: dict[str, Path],
    names: tuple[str, str],
    problems: list[Problem],
) -> list[Pair]:
    """Joins images and masks of one key; `names` is how each would be called, with {} for the key."""
    for ours, others, what, name in ((images, masks, "a mask", names[1]), (masks, images, "an image", names[0])):
        for key in ours.keys() - others.keys():
            problems.append(Problem(ours[key], f"{what} {name.format(key)}", "none"))
    return [
        Pair(split, unicodedata.normalize("NFC", path.stem), path, masks[key])
        for key, path in images.items()
        if key in masks and path.is_file() and masks[key].is_file()
    ]


def _take_out_misnamed(images: dict[str, Path], masks: dict[str, Path], problems: list[Problem]) -> None:
    """Takes out the masks, and their images, that differ in nothing but what KIND finds in their names."""
    alone: list[dict[str, list[str]]] = []
    for keys in (images.keys() - masks.keys(), masks.keys() - images.keys()):
        by_core: dict[str, list[str]] = {}
        for key in keys:
            by_core.setdefault(KIND.sub("", key.lower()).strip(" ._-"), []).append(key)
        alone.append(by_core)
    for core in alone[0].keys() & alone[1].keys():
        (image, *more), (mask, *others) = alone[0][core], alone[1][core]
        if not more and not others:
            problems.append(Problem(masks.pop(mask), f"the name of its image, {images.pop(image).stem}", "another"))


def _find_by_number(folder: Path, split: str, problems: list[Problem]) -> list[Pair]:
    """Finds image_NN.png and label_NN.png."""
    entries = _entries(folder, problems)
    ours = {p: [e for e in entries if e.name.startswith(p) and e.suffix == ".png"] for p in ("image_", "label_")}
    for path in sorted(set(entries) - set(ours["image_"] + ours["label_"])):
        if path.suffix.lower() in {*SUFFIXES, *FOREIGN}:
            problems.append(Problem(path, "a name like image_NN.png or label_NN.png", "another"))
    images, masks = (_by_key(paths, prefix, problems) for prefix, paths in ours.items())
    if not images and not masks:
        problems.append(Problem(folder, "at least one pair image_NN.png and label_NN.png", "none"))
    return _pair_up(split, images, masks, ("image_{}.png beside it", "label_{}.png beside it"), problems)


def _find_by_stem(folder: Path, split: str, problems: list[Problem]) -> list[Pair]:
    """Finds images/NAME and masks/NAME, each with any suffix of SUFFIXES."""
    found = []
    for part in (folder / "images", folder / "masks"):
        entries = _entries(part, problems)
        for path in entries:
            if path.suffix.lower() not in SUFFIXES:
                other = "a folder" if path.is_dir() else path.suffix or "no suffix"
                problems.append(Problem(path, "a picture, one of " + " ".join(SUFFIXES), other))
        found.append(_by_key([e for e in entries if e.suffix.lower() in SUFFIXES], "", problems))
    if not found[0] and not found[1]:
        problems.append(Problem(folder, "at least one pair in images and masks", "none"))
    if not all((folder / part).is_dir() for part in ("images", "masks")):  # said above, and enough: all lack a partner
        return []
    _take_out_misnamed(found[0], found[1], problems)
    return _pair_up(split, found[0], found[1], ("{}.* in images", "{}.* in masks"), problems)


def _add_groups(folder: Path, pairs: list[Pair], flat: bool, problems: list[Problem]) -> list[Pair]:
    """Adds patients or groups, and sizes before an import, from images.csv or groups.csv where there is one."""
    names, columns = ["images.csv", "groups.csv"], [("name", "split", "patient"), ("name", "group")]
    file, other = folder / names[flat], folder / names[not flat]
    if other.exists():
        problems.append(Problem(other, f"{file.name} with the columns {', '.join(columns[flat])}", "this name"))
    if not file.exists():
        grades = folder / "Grade.csv"
        return pairs if flat or not grades.is_file() else _add_grades(grades, pairs, problems)
    try:
        data = file.read_bytes()
    except OSError as error:
        problems.append(Problem(file, "a file that can be read", error.strerror))
        return pairs
    before = len(problems)
    paired = not before
    table = read_table(file, data, columns[flat], len(columns[flat]) - 1, problems)
    if len(problems) > before:
        return pairs
    keys = [(pair.name,) if flat else (pair.name, pair.split) for pair in pairs]
    rows = {
        (unicodedata.normalize("NFC", name), *(SPLITS.get(split.lower(), split) for split in splits)): row
        for (name, *splits), row in table.items()
    }
    for key in rows.keys() - set(keys) if paired else ():  # or of an image that is there and has lost its mask
        problems.append(Problem(file, "rows for images of this folder", f"one for {' in '.join(key)}"))
    for key in set(keys) - rows.keys():
        problems.append(Problem(file, f"a row for {' in '.join(key)}", "none"))
    if len(problems) > before:
        return pairs
    return [
        pair._replace(group=rows[key][columns[flat][-1]], original=_original(rows[key]))
        for pair, key in zip(pairs, keys, strict=True)
    ]


def _add_grades(file: Path, pairs: list[Pair], problems: list[Problem]) -> list[Pair]:
    """Adds patients from the table of the Warwick-QU images, which calls image_07 of Train train_7."""
    try:
        data = file.read_bytes()
    except OSError as error:
        problems.append(Problem(file, "a file that can be read", error.strerror))
        return pairs
    table = read_table(file, data, ("name", "patient ID"), 1, problems)
    originals = {"train": "train_", "test": "testA_", "testB": "testB_"}
    with_patients = []
    for pair in pairs:
        number = pair.name.removeprefix("image_")
        row = table.get((originals[pair.split] + number.lstrip("0"),))
        if row is None and table:
            problems.append(Problem(file, f"a row for {originals[pair.split]}{number.lstrip('0')}", "none"))
        with_patients.append(pair._replace(group=row["patient ID"] if row else None))
    return with_patients


def _original(row: Row) -> tuple[int, int] | None:
    height, width = (row.get(column, "") for column in ("height", "width"))
    known = all(value.isascii() and value.isdecimal() and len(value) < 7 for value in (height, width))
    return (int(height), int(width)) if known else None
