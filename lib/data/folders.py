"""Finding the pairs of images and masks in a folder, their splits and groups, and what else lies there.

What names mean stands in the tables below: a data set with other names is one word or one line more. Problems are
added to a list that the functions are given, so that one pass finds them all.
"""

import csv
import difflib
import hashlib
import io
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lib._errors import Problem
from lib.data.images import SUFFIXES

# Words of folders' names, in small letters; what is none of these is a patient, a class, or a folder around all.
SPLITS = {"testa": "test", "testb": "testB", "test": "test", "testing": "test", "ts": "test"}
SPLITS |= dict.fromkeys(("train", "training", "tr"), "train")
SPLITS |= dict.fromkeys(("val", "valid", "validation", "dev"), "val")
IMAGES = re.compile("images?|imgs?|originals?|jpegimages|input|data")
MASKS = re.compile(
    "masks?|labels?|annotations?|anno|gt|groundtruth|manual1?|segs?|segmentations?|trimaps|lesion|"
    "segmentationclass|segmentationobject|segmentationclasspng"
)
ASIDE = re.compile("overlays?|visualization|segmentationclassvisualization|viz|previews?|superpixels")
KINDS = (("aside", ASIDE), ("mask", MASKS), ("image", IMAGES))
# Of two folders of masks that one set has: which is meant, and which are left out.
MEANT = (
    ("1stmanual", ("mask", "2ndmanual")),  # DRIVE: the first observer; mask/ is the field of view
    ("manual1", ("mask", "manual2")),  # HRF
    ("segmentationclasspng", ("segmentationclass",)),  # labelme2voc
    ("segmentationclass", ("segmentationobject",)),  # CVAT, Pascal VOC
)
# Words of files' names that tell a mask, before or behind the name of its image, and those that tell an image.
MASK_WORD = r"(cp_masks?|masks?|labels?|seg(?:mentation)?s?|ground[ _-]?truth|gt|anno(?:tation)?s?|manual|lesion)"
MASK_AFFIX = re.compile(rf"(?:^{MASK_WORD}(?=[ ._-]|\d)[ ._-]*|[ ._-]{MASK_WORD}[ ._-]?(\d*)$)", re.IGNORECASE)
MASK_INSIDE = re.compile(rf"[ ._-]{MASK_WORD}(?=[ ._-]\d+$)", re.IGNORECASE)
IMAGE_AFFIX = re.compile(
    r"(^(?:images?|img)(?=[ ._-]|\d)[ ._-]*|[ ._-](?:images?|img|training|test|0000)$)", re.IGNORECASE
)
ASIDE_AFFIX = re.compile(r"[ ._-](overlay|viz|preview|superpixels|roi)$", re.IGNORECASE)
FEW_GROUPS = 6  # folders that are so few may well be classes
PARTS = {"mask", "masks", "label", "labels"}  # words whose numbers count parts of one mask, not observers
OBJECTS = {"cp_masks", "masks", "anno"}  # words of Cellpose and GlaS, whose masks number objects
IN_NAME = re.compile(r"(train|testA|testB)_\d+(?:_anno)?", re.IGNORECASE)  # GlaS: the split is in the files' names
SYSTEM = re.compile(  # what systems and tools leave in any folder
    r"\..*|__MACOSX|Thumbs\.db|ehthumbs\.db|desktop\.ini|@eaDir|Icon\r?|Picasa\.ini|.*~|.*\.part", re.IGNORECASE
)
TABLE = re.compile(r"(?:groups?|images?)\b.*\.(?:csv|tsv|txt|xlsx?|ods)", re.IGNORECASE)  # named like a table of ours
Row = dict[str, str]


class Pair(NamedTuple):
    """One image and its mask.

    Attributes:
        split: "train", "test" or "testB". name: of the image without its suffix, with its folder where it needs one.
        masks: joined if several. group: patient or other group, if known. original: height and width before an
            import, if recorded. objects: whether its mask is known to number objects. grade: of the tissue, if known.
    """

    split: str
    name: str
    image: Path
    masks: tuple[Path, ...]
    group: str | None = None
    original: tuple[int, int] | None = None
    objects: bool = False
    grade: str | None = None


@dataclass
class Found:
    """What a folder was read as: its pairs, and what has to be said of how and of the rest, by subject."""

    pairs: list[Pair] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


class _File(NamedTuple):
    """A picture and what its path says: split, folder of its kind, other folders (patient or class), name."""

    path: Path
    split: str
    kind: str
    role: str  # "image", "mask" or "aside"
    others: tuple[str, ...]
    stem: str


@cache
def words_of(name: str) -> tuple[str, ...]:
    """Returns the words of a folder's name in small letters: imagesTr gives images, tr; "Ground Truth" is one."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z])[ _-]+(?=Truth|truth)", " ", name)
    text = text.lower().replace("ground truth", "groundtruth")
    return tuple(re.findall(r"[^\W_]+", text))


def _stem(path: Path) -> str:
    """Returns a file's name without suffix, in one way of writing letters with accents (systems differ in it)."""
    return unicodedata.normalize("NFC", path.stem).removesuffix(".ome")


def _walk(folder: Path, found: Found, problems: list[Problem]) -> list[Path]:
    """Returns all files below a folder, by name, but for those of systems; names what is neither file nor folder."""
    files: list[Path] = []
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        problems.append(Problem(folder, "a folder that can be read", error.strerror))
        return []
    for path in entries:
        if SYSTEM.fullmatch(path.name):
            continue
        if not path.name.isprintable():
            problems.append(Problem(path, "a file name of printable characters", "others"))
        elif path.is_dir():
            if path.suffix.lower() in (*SUFFIXES, ".csv"):
                problems.append(Problem(path, "a file", "a folder"))
            elif path.is_symlink() and path.resolve() in (folder, *folder.resolve().parents):
                problems.append(Problem(path, "a folder below this one", "a link to one above"))
            else:
                inner = _walk(path, found, problems)
                if not inner and not any(problem.file.startswith(str(path)) for problem in problems):
                    found.left_out.append(f"{path.name}/: empty")
                files += inner
        elif path.is_file():
            files.append(path)
        else:  # a pipe that would never end, a link to nothing or to itself
            problems.append(Problem(path, "a file", "none behind this name"))
    return files


def _role(kinds: Sequence[tuple[str, str]], stem: str) -> tuple[str, str]:
    """Returns whether a file is an image, a mask or aside, and the words of the folder that says so."""
    if ASIDE_AFFIX.search(stem):
        return "aside", ""
    if kinds and kinds[-1][0] != "image":
        return kinds[-1]
    if MASK_AFFIX.search(stem):
        return "mask", ""
    return "image", kinds[-1][1] if kinds else ""


def _joined(words: Sequence[str]) -> set[str]:
    return {*words, *("".join(two) for two in pairwise(words))}


@cache
def _kind(words: tuple[str, ...]) -> str:
    """Returns what a folder of these words holds: "aside", "mask" or "image", or "" if they tell nothing of it."""
    joined = _joined(words)
    return next((role for role, known in KINDS if any(known.fullmatch(word) for word in joined)), "")


def _look_at(path: Path, parts: Sequence[str]) -> _File:
    """Returns what a picture's name and its folders, from outside to inside, say of it."""
    split, kinds, others = "", [], []
    for part in parts:
        words = words_of(part)
        joined = _joined(words)
        split = next((SPLITS[word] for word in SPLITS if word in joined), split)
        rest = "".join(word for word in words if word not in SPLITS)
        if role := _kind(words):
            kinds.append((role, rest))
        elif not any(word in joined for word in SPLITS):
            others.append(part)
    role, kind = _role(kinds, _stem(path))
    return _File(path, split, kind, role, tuple(others), _stem(path))


# How a mask's name follows from its image's: a title, and what is compared of the image's and of the mask's stem.
Key = Callable[[str], str]
NAMES: tuple[tuple[str, Key, Key], ...] = (
    ("the same name", lambda stem: stem, lambda stem: stem),
    ("the image's name and a word such as _mask", lambda stem: stem, lambda stem: MASK_AFFIX.sub("", stem)),
    ("the image's name around a word such as _mask", lambda stem: stem, lambda stem: MASK_INSIDE.sub("", stem)),
    (
        "one name but for words such as image_ and label_",
        lambda stem: IMAGE_AFFIX.sub("", stem),
        lambda stem: IMAGE_AFFIX.sub("", MASK_AFFIX.sub("", stem)),
    ),
    ("all masks of a folder to its one image", lambda _: "", lambda _: ""),
)


def _match(images: list[_File], masks: list[_File], found: Found) -> dict[Path, list[_File]]:
    """Returns the masks of each image by the first rule of NAMES that leaves nothing over, or else the least."""
    best: tuple[int, str, dict[Path, list[_File]]] = (len(images) + len(masks) + 1, "no rule", {})
    different = len({(image.split, image.others, image.stem) for image in images})
    for title, of_image, of_mask in NAMES:
        for within in (True, False):  # the same patient's or class's folder, or wherever
            keyed: dict[tuple[object, ...], _File] = {}
            for image in images:
                keyed.setdefault((image.split, image.others * within, of_image(image.stem)), image)
            if len(keyed) < different:  # two images would claim one mask
                continue
            pairs: dict[Path, list[_File]] = defaultdict(list)
            for mask in masks:
                if image_of := keyed.get((mask.split, mask.others * within, of_mask(mask.stem))):
                    pairs[image_of.path].append(mask)
            left = len(images) - len(pairs) + len(masks) - sum(map(len, pairs.values()))
            best = min(best, (left, title, dict(pairs)), key=lambda rule: rule[0])
    found.told["pairs"] = best[1]
    return best[2]


def _conflict(masks: Sequence[_File], rule: str) -> bool:
    """Returns whether several masks of one image are more than parts that their names number."""
    if rule == NAMES[-1][0] or len(masks) == 1:
        return len({mask.kind for mask in masks}) > 1
    affixes = [MASK_AFFIX.search(mask.stem) for mask in masks]
    words = {(affix[1] or affix[2]).lower() if affix else "" for affix in affixes}
    return len(words) > 1 or not words <= PARTS or len({mask.path.parent for mask in masks}) > 1


def _pair_up(folder: Path, files: list[_File], found: Found, problems: list[Problem]) -> list[Pair]:
    images, masks = ([file for file in files if file.role == role] for role in ("image", "mask"))
    for meant, others in MEANT:
        if any(mask.kind == meant for mask in masks):
            masks = [mask for mask in masks if mask.kind not in others]
    bare = {split for split in {file.split for file in images} if split not in {mask.split for mask in masks}}
    if masks and bare and "train" not in bare:  # a challenge keeps the masks of its test images to itself
        found.left_out += [f"{split}: {sum(i.split == split for i in images)} images without masks" for split in bare]
        files = [file for file in files if file.role != "image" or file.split not in bare]  # told of already
        images = [image for image in images if image.split not in bare]
    matched = _match(images, masks, found)
    used = {mask.path for of_one in matched.values() for mask in of_one}
    broken = {Path(problem.file).stem for problem in problems}  # named already
    seen: dict[tuple[object, ...], Path] = {}
    names = Counter((image.split, image.stem) for image in images)
    pairs = []
    free = {mask.stem: mask.path.name for mask in masks if mask.path not in used}
    for image in images:
        of_one = matched.get(image.path, [])
        twin = seen.setdefault((image.split, image.others, image.stem), image.path)
        if twin != image.path:
            problems.append(Problem(image.path, f"one picture called {image.stem}", f"{twin.name} as well"))
        elif not of_one and image.stem not in broken:
            near = difflib.get_close_matches(image.stem, free, 1, 0.5)
            hint = f"none; is it {free[near[0]]}? Then give both one name" if near else "none"
            problems.append(Problem(image.path, "a mask of its name", hint))
        elif of_one and _conflict(of_one, found.told["pairs"]):
            both = " and ".join(str(mask.path.relative_to(folder)) for mask in of_one[:3])
            problems.append(Problem(image.path, "one mask, or numbered parts of one; take the others away", both))
        elif of_one:
            name = image.stem if names[image.split, image.stem] == 1 else "/".join((*image.others, image.stem))
            affix = MASK_AFFIX.search(of_one[0].stem)
            word = (affix[1] or affix[2]).lower() if affix else ""
            objects = word in OBJECTS and len(of_one) == 1
            pairs.append(Pair(image.split, name, image.path, tuple(m.path for m in of_one), objects=objects))
    for mask in masks:
        if mask.path not in used and mask.stem not in broken:
            problems.append(Problem(mask.path, "an image of its name", "none"))
    of = {file.path: file.others for file in images}
    folders = {of[pair.image] for pair in pairs}
    if 1 < len(folders) < len(pairs) and all(folders):  # a folder a patient or class
        pairs = [pair._replace(group="/".join(of[pair.image])) for pair in pairs]
        groups = sorted({pair.group or "" for pair in pairs})
        classes = "; if these are classes and not patients, write groups.csv" if len(groups) < FEW_GROUPS else ""
        found.told["groups"] = f"{len(groups)} folders: {_few(groups)}{classes}"
    for what, paths in (("images", [p.image for p in pairs]), ("masks", [m for p in pairs for m in p.masks])):
        places = sorted({f"{place.relative_to(folder)}/".removeprefix("./") for place in {p.parent for p in paths}})
        found.told[what] = f"{len(paths)} in {_few([name or 'the folder itself' for name in places], 4)}"
    kept = {file.path for file in (*images, *masks)}
    _leave_out(folder, [file.path for file in files if file.path not in kept], "", found)
    return pairs


def _few(names: Sequence[str], most: int = 6) -> str:
    """Returns some of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _leave_out(folder: Path, paths: Iterable[Path], why: str, found: Found) -> None:
    """Adds what is left out, a line for each folder and suffix."""
    kinds: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in paths:
        kinds[f"{path.parent.relative_to(folder)}/".removeprefix("./"), path.suffix.lower()].append(path.name)
    for (where, suffix), names in kinds.items():
        which = f"{where}{names[0]}" if len(names) == 1 else f"{where}: {len(names)} files {suffix or 'without suffix'}"
        found.left_out.append(which.removeprefix(": ") + why)


def find_pairs(folder: Path, test_fraction: float, problems: list[Problem]) -> Found:
    """Returns what `lib.data.reading.load_dataset` reads a folder as."""
    found = Found()
    paths = _walk(folder, found, problems)
    tables = [path for path in paths if TABLE.fullmatch(path.name)]
    pictures = [path for path in paths if path.suffix.lower() in SUFFIXES]
    parts = {parent: parent.relative_to(folder).parts for parent in {path.parent for path in pictures}}
    around = folder  # what all pictures lie in may be called anything
    for names in zip(*parts.values(), strict=False):
        words = words_of(names[0])
        if len(set(names)) > 1 or {*words} & SPLITS.keys() or (len(words) == 1 and _kind(words)):
            break
        around = around / names[0]
    depth = len(around.parts) - len(folder.parts)
    files = [_look_at(path, parts[path.parent][depth:]) for path in pictures]
    if files and not any(file.split for file in files) and all(IN_NAME.fullmatch(file.stem) for file in files):
        files = [file._replace(split=SPLITS[file.stem.split("_")[0].lower()]) for file in files]
    read = {*pictures, *tables, *(path for path in paths if path.name.lower() == "grade.csv")}
    rest = [path for path in paths if path not in read]
    _leave_out(folder, rest, "", found)
    splits = {file.split for file in files} - {""}
    if splits:  # what lies beside Train and Test is in neither
        outside = [file.path for file in files if not file.split]
        _leave_out(folder, outside, ", in no split", found)
        files = [file for file in files if file.split]
    files = [file._replace(split="train") if file.split == "val" and "train" in splits else file for file in files]
    if not files:
        shown = _few([path.relative_to(folder).as_posix() for path in paths], 3) or "nothing"
        zipped = any(path.suffix.lower() in (".zip", ".gz", ".tar", ".7z", ".rar") for path in paths)
        hint = "; unpack it" if zipped else f"; pictures end in {' '.join(SUFFIXES)}" if paths else ""
        problems.append(Problem(folder, "pictures and their masks", shown + hint))
        return found
    pairs = _pair_up(folder, files, found, problems)
    if "val" in splits and "train" in splits:
        found.told["splits"] = "validation images joined to the training images"
    present = {pair.split for pair in pairs}
    plain = any(part.lower() in SPLITS for inner in parts.values() for part in inner)
    divide = pairs and (not splits or (present == {"train"} and not plain))  # a folder called train wants one for test
    for split in ("train", "test"):
        there = any(file.split == split for file in files)
        if splits and not (divide or split in present or (there and problems)):  # which say what is wrong there
            found_there = "images without masks" if there else "none"
            problems.append(Problem(folder / split, "a folder of images and masks", found_there))
    if divide and any(left.endswith("in no split") for left in found.left_out):
        problems.append(Problem(folder / "test", "a folder of images and masks beside train", "none"))
    pairs = _add_groups(around, pairs, tables, found, problems)
    if divide and not problems:
        pairs = _divide(folder, pairs, test_fraction, problems)
        found.told["splits"] = f"divided here, {test_fraction:.0%} for testing, whole groups together"
    order = ("train", "test", "testB")
    found.pairs = sorted(pairs, key=lambda pair: order.index(pair.split) if pair.split in order else 0)
    return found


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


def _divide(folder: Path, pairs: list[Pair], test_fraction: float, problems: list[Problem]) -> list[Pair]:
    groups = [pair.name if pair.group is None else pair.group for pair in pairs]
    if len(set(groups)) < 2:
        problems.append(Problem(folder, "at least two images, of two groups, to divide", len(set(groups))))
        return pairs
    test = choose_test(groups, test_fraction)
    return [p._replace(split="test" if group in test else "train") for p, group in zip(pairs, groups, strict=True)]


def read_table(
    file: str | Path, data: bytes, columns: Sequence[str], keys: int, problems: list[Problem]
) -> dict[tuple[str, ...], Row]:
    """Reads a CSV file: UTF-8, comma, semicolon or tab, line ends of any system, a header, padded values.

    Args:
        file: what messages call it. data: its content.
        columns: that it must have, filled in every row; the first `keys` of them name a row.
        problems: receives what is wrong; such rows are left out.

    Returns:
        All columns of each row by its key.
    """
    try:
        lines = io.StringIO(data.decode("utf-8-sig"), newline=None)  # None: a bare CR ends a line, too
        first = lines.readline()
        lines.seek(0)
        separator = max(",;\t", key=first.count)
        reader = csv.reader(lines, strict=True, skipinitialspace=True, delimiter=separator)
        rows = [[value.strip() for value in row] for row in reader]
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


def _add_groups(
    folder: Path, pairs: list[Pair], tables: list[Path], found: Found, problems: list[Problem]
) -> list[Pair]:
    """Adds patients or groups, sizes before an import and grades, from the folder's table where there is one."""
    ours = [
        path
        for path in tables
        if folder.is_relative_to(path.parent) and path.name.lower() in ("groups.csv", "images.csv")
    ]
    for path in tables:
        if path not in ours[:1]:
            expected = f"one table beside the pictures, {ours[0].name if ours else 'groups.csv'}"
            problems.append(Problem(path, expected, "this one; rename it or take it away"))
    grades = [path for path in folder.iterdir() if path.name.lower() == "grade.csv" and path.is_file()]
    if not ours:
        if grades:
            return _add_grades(grades[0], pairs, found, problems)
        found.told.setdefault("groups", _hint_of_groups(pairs))
        return pairs
    file, before = ours[0], len(problems)
    data = file.read_bytes()
    header = re.split("[,;\t]", data.decode("utf-8-sig", "replace").splitlines()[0].lower()) if data.strip() else []
    header = [column.strip(' "') for column in header]
    usual = "patient" if file.name.lower() == "images.csv" else "group"
    group = next((name for name in ("group", "patient") if name in header), usual)
    split = ["split"] if "split" in header or file.name.lower() == "images.csv" else []
    table = read_table(file, data, ["name", *split, group], 1 + len(split), problems)
    if len(problems) > before:
        return pairs
    rows = {
        (_without_suffix(name), *(SPLITS.get(part.lower(), part) for part in parts)): row
        for (name, *parts), row in table.items()
    }
    keys: list[tuple[str, ...]] = [(pair.name, pair.split)[: 1 + len(split)] for pair in pairs]
    for key in rows.keys() - set(keys) if not before else ():  # or of an image that is there and has lost its mask
        problems.append(Problem(file, "rows for images of this folder", f"one for {' in '.join(key)}"))
    for key in sorted(set(keys) - rows.keys()):
        problems.append(Problem(file, f"a row for {' in '.join(key)}", "none"))
    if len(problems) > before:
        return pairs
    found.told["groups"] = f"{len({row[group] for row in table.values()})} in {file.name}"
    return [
        pair._replace(group=rows[key][group], original=_original(rows[key]), grade=rows[key].get("grade") or None)
        for pair, key in zip(pairs, keys, strict=True)
    ]


def _without_suffix(name: str) -> str:
    name = unicodedata.normalize("NFC", name)
    return str(Path(name).with_suffix("")) if Path(name).suffix.lower() in SUFFIXES else name


def _hint_of_groups(pairs: list[Pair]) -> str:
    """Returns that groups are not known, and which ones the names look like."""
    starts = Counter(match[1] for pair in pairs if (match := re.match(r"(.*?\d.*?)[._ -]+[^._ -]+$", pair.name)))
    if len(pairs) >= 4 and 1 < len(starts) <= len(pairs) / 2 and starts.total() == len(pairs):
        return f"none known; names look like patients ({_few(sorted(starts), 3)}): write groups.csv with name,group"
    return "none known: each image counts as one of its own"


def _add_grades(file: Path, pairs: list[Pair], found: Found, problems: list[Problem]) -> list[Pair]:
    """Adds patients and grades from the table of the Warwick-QU images, which calls image_07 of Train train_7."""
    table = read_table(file, file.read_bytes(), ("name", "patient ID"), 1, problems)
    originals = {"train": "train_", "test": "testA_", "testB": "testB_"}
    with_patients = []
    for pair in pairs:
        name = originals.get(pair.split, "") + re.split("[_]", pair.name)[-1].lstrip("0")
        row = table.get((name,))
        if row is None and table:
            problems.append(Problem(file, f"a row for {name}", "none"))
        row = row or {}
        with_patients.append(pair._replace(group=row.get("patient ID"), grade=row.get("grade (GlaS)") or None))
    found.told["groups"] = f"{len({pair.group for pair in with_patients})} patients in {file.name}"
    return with_patients


def _original(row: Row) -> tuple[int, int] | None:
    height, width = (row.get(column, "") for column in ("height", "width"))
    known = all(value.isascii() and value.isdecimal() and len(value) < 7 for value in (height, width))
    return (int(height), int(width)) if known else None
