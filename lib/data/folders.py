"""Finding the pairs of images and masks in a folder, their splits and groups, and what else lies there.

What names mean stands in the tables below: a data set with other names is one word or one line more.
"""

import csv
import difflib
import hashlib
import io
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lib._errors import Problem, reason
from lib.data.images import SUFFIXES


def _table(**meanings: str) -> dict[str, str]:
    return {word: meaning for meaning, words in meanings.items() for word in words.split()}


# Words of folders' names, in small letters; what is none of these is a patient, a class, or a folder around all.
SPLITS = _table(
    testB="testb",
    test="testa test testing ts",
    train="train training tr trainval",
    val="val valid validation dev tuning",
)
ROLES = _table(
    aside="overlay overlays viz preview previews superpixels visualization annotatedimages tra vague distance",
    mask="mask masks label labels gt groundtruth groundtruths manual manual1 trimaps seg segs segmentation "
    "segmentations lesion anno annotation annotations target gtpolyp "
    "segmentationclass segmentationobject segmentationclasspng",
    image="image images img imgs original originals jpegimages input data source frame frames",
)
# Of folders, or of words of masks' names, that one set has: which is meant, and which are left out then.
MEANT = (
    ("1stmanual", "mask|2ndmanual"),  # DRIVE: the first observer; mask/ is the field of view
    ("manual1", "mask|manual2"),  # HRF
    ("labelsah|ah", "labelsvk|vk"),  # STARE
    ("1stho", "2ndho"),  # CHASE_DB1
    ("segmentationclasspng", "segmentationclass"),  # labelme2voc
    ("segmentationclass", "segmentationobject"),  # CVAT, Pascal VOC
    ("masksmachine", "maskshuman"),  # Supervisely
    ("maskbinary", "maskbinary.+|(label|stacked)masks?.*"),  # NuInsSeg, CryoNuSeg
    (r"\d\dgt", r"\d\dst"),  # Cell Tracking Challenge: drawn by people, not by programs
    ("gtpolyp", "gt(lumen|specular|void)|contourgt"),  # EndoScene
    ("png", "tiff?"),  # CVC-ClinicDB: each image in both formats
)
# Words of files' names that tell a mask, before or behind the name of its image, and those that tell an image.
MASK_WORD = (
    r"(cp_masks?|masks?|labels?|labell?ed|(?:man_)?seg(?:mentation)?s?|ground[ _-]?truth|gt|anno(?:tation)?s?"
    r"|manual|lesion|contour|1stHO|2ndHO)"
)
MASK_AFFIX = re.compile(rf"(?i)^{MASK_WORD}(?=[ ._-]|\d|$)[ ._-]*|[ ._-]{MASK_WORD}[ ._-]?(\d*)$|\.(ah|vk)$")
MASK_INSIDE = re.compile(rf"(?i)[ ._-]{MASK_WORD}(?=[ ._-]\d+$)")
IMAGE_WORD = r"(?:images?|img|training|test|orig(?:inal)?|rgb|ccd|volume)"
IMAGE_AFFIX = re.compile(rf"(?i)^(?:images?|img|bus|t)(?=[ ._-]|\d|$)[ ._-]*|[ ._-]{IMAGE_WORD}$")
ASIDE_AFFIX = re.compile(r"(?i)[ ._-](overlay|viz|preview|superpixels|roi|r\d_label\d|(?:cp_)?outlines|flows|centers)$")
# How a mask's name follows from its image's: a title, and what is taken from the image's and from the mask's name.
ONE_IMAGE = "all masks of a folder to its one image"
ONE_WORD = "the image's name and a word that all masks share"
NAMES: tuple[tuple[str, tuple[re.Pattern[str], ...], tuple[re.Pattern[str], ...]], ...] = (
    ("the same name", (), ()),
    ("the image's name and a word such as _mask", (), (MASK_AFFIX,)),
    ("the image's name around a word such as _mask", (), (MASK_INSIDE,)),
    ("one name but for words such as image_ and label_", (IMAGE_AFFIX,), (MASK_AFFIX, IMAGE_AFFIX)),
    ("one name but for _0000", (re.compile(r"_000\d$"),), ()),  # nnU-Net's number of the channel
    (ONE_IMAGE, (re.compile(".*"),), (re.compile(".*"),)),
    (ONE_WORD, (IMAGE_AFFIX,), (re.compile(r"^[^\W\d]+(?=\d)"),)),
    (ONE_WORD, (IMAGE_AFFIX,), (re.compile(r"[ ._-](?!\d+$)[^ ._-]+$"),)),
)
PARTS = {"mask", "masks", "label", "labels"}  # words whose numbers count parts of one mask, not observers
OBJECTS = {"cp_masks", "masks", "anno", "man_seg"}  # of Cellpose, GlaS, Cell Tracking Challenge: they number objects
FEW_GROUPS = 6  # folders that are so few may well be classes, and are if they have such names
CLASSES = re.compile("(?i)benign|malignan|normal|healthy|glaucoma|covid|pneumonia|carcinoma|adenoma|melanoma|cancer")
IN_NAME = re.compile(r"(?i)(train|testA|testB)_\d+(?:_anno)?")  # GlaS: the split is in the files' names
GRADES = "grade.csv"  # of GlaS, which calls image_7 of a split as follows
IN_GRADES = {"train": "train_", "test": "testA_", "testB": "testB_"}
SYSTEM = re.compile(  # what systems and tools leave in any folder
    r"(?i)\..*|__MACOSX|(eh)?thumbs\.db|desktop\.ini|@eaDir|Icon\r?|Picasa\.ini|.*~|.*\.part"
)
ADVICE = {  # how files end that may lie there in place of pictures, what they are, and what to do
    r"\.(nii|nii\.gz|mha|mhd|nrrd|dcm|img)$": "volumes (save their slices as PNG)",
    r"\.(npy|npz|mat|h5|hdf5)$": "arrays (save each image and each mask as PNG)",
    r"\.(svs|ndpi|mrxs|scn|vsi|czi|lif|nd2)$": "slides or stacks (save tiles or planes as PNG)",
    r"(?<!\.nii)\.(zip|gz|tar|tgz|7z|rar)$": "archives (unpack them)",
    r"\.(json|geojson|xml|txt|csv)$": "perhaps outlines (let the tool that wrote them export masks as PNG)",
}
TABLE = re.compile(r"(?i)(?:groups?|images?)\b.*\.(?:csv|tsv|xlsx?|ods)|groups?\b.*\.txt")  # named like a table of ours
Row = dict[str, str]


class Pair(NamedTuple):
    """One image and its mask."""

    split: str  # "train", "test" or "testB"
    name: str  # of the image without its suffix, with its folder where it needs one
    image: Path
    masks: tuple[Path, ...]  # joined if several
    group: str | None = None  # patient or other group, if known
    original: tuple[int, int] | None = None  # height and width before an import, if recorded
    objects: bool = False  # whether its mask is known to number objects
    grade: str | None = None  # of the tissue, if known


@dataclass
class Found:
    """What a folder was read as."""

    pairs: list[Pair] = field(default_factory=list)
    told: dict[str, str] = field(default_factory=dict)  # how it was read, by subject
    left_out: list[str] = field(default_factory=list)  # what was not read, and why
    facts: list[str] = field(default_factory=list)  # what was done with its pixels
    problems: list[Problem] = field(default_factory=list)  # all that is wrong with it

    def wrong(self, file: Path, expected: str, found: object) -> None:
        """Adds a problem."""
        self.problems.append(Problem(file, expected, found))

    def leave_out(self, folder: Path, paths: Iterable[Path], why: str = "") -> None:
        """Adds files that are left out, a line for each suffix and kind of folder, whatever its number."""
        kinds: dict[tuple[str, str], list[Path]] = defaultdict(list)
        for path in paths:
            kinds[re.sub("[0-9]+", "0", path.parent.name), path.suffix.lower()].append(path)
        for (_, suffix), files in kinds.items():
            many = f"{len(files)} files {suffix or 'without suffix'} in {_places(folder, files)}"
            self.left_out.append((str(files[0].relative_to(folder)) if len(files) == 1 else many) + why)


class _File(NamedTuple):
    """A picture and what its path says."""

    path: Path
    split: str
    role: str  # "image", "mask" or "aside"
    others: tuple[str, ...]  # folders that tell neither: of a patient or a class
    stem: str
    names: tuple[str, ...]  # of its folders, and its name's word, as MEANT has them


@cache
def _meaning(name: str) -> tuple[str, str, tuple[str, ...]]:
    """Returns the split and the role that a folder's name tells, "" where it tells none, and its words.

    imagesTr has the words images and tr; of two neighbours, as in Test B, one word is tried as well.
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = re.findall(r"[^\W_]+", re.sub("ground[ _-]+truth", "groundtruth", text))
    known = {*words, *map("".join, pairwise(words))}
    split, role = (next((table[word] for word in table if word in known), "") for table in (SPLITS, ROLES))
    return split, "" if re.fullmatch(r"(image|img|frame) \d+", " ".join(words)) else role, tuple(words)


def _look_at(path: Path, folders: Sequence[str]) -> _File:
    """Returns what a picture's name and its folders, from outside to inside, say of it."""
    split, role, others, names, stem = "", "", [], [], _stem(path.name)
    for folder in folders:
        its_split, its_role, words = _meaning(folder)
        split, role = its_split or split, role if role == "aside" else its_role or role
        names.append("".join(word for word in words if word not in SPLITS))
        if sequence := re.fullmatch(r"(\d\d)_[GS]T", folder):  # Cell Tracking Challenge: the masks of 01
            others.append(sequence[1])
        elif not its_split and not its_role:
            others.append(folder)
    if ASIDE_AFFIX.search(stem):
        role = "aside"
    elif role in ("", "image") and MASK_AFFIX.search(stem):
        role = "mask"
        names.append(_mask_word(stem))
    return _File(path, split, role or "image", tuple(others), stem, tuple(names))


def _stem(name: str) -> str:
    """Returns a picture's name without suffix, in one way of writing letters with accents (systems differ in it)."""
    path = Path(unicodedata.normalize("NFC", name))
    return str(path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).removesuffix(".ome")


def _mask_word(stem: str) -> str:
    affix = MASK_AFFIX.search(stem)
    return (affix[1] or affix[2] or affix[4]).lower() if affix else ""


def _without(stem: str, patterns: Iterable[re.Pattern[str]]) -> str:
    return reduce(lambda rest, pattern: pattern.sub("", rest), patterns, stem)


def few(names: Sequence[str], most: int = 6) -> str:
    """Returns the first of many names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _places(folder: Path, paths: Sequence[Path]) -> str:
    """Returns in which folders files lie."""
    inner = sorted({path.parent.relative_to(folder) for path in paths})
    places = [f"{place}/" if place.name else "the folder itself" for place in inner]
    return ", ".join(places) if len(places) < 5 else f"{len(places)} folders such as {places[0]}"


def _advice(paths: Iterable[Path]) -> str:
    """Returns what to do with the files that lie there in place of pictures or masks."""
    text = ""
    for end, advice in ADVICE.items():
        found = next(filter(None, (re.search(end, path.name.lower()) for path in paths)), None)
        text += f"; {found[0]} files are {advice}" if found else ""
    return text


def _walk(folder: Path, found: Found) -> list[Path]:
    """Returns all files below a folder, by name, but for those of systems; names what is neither file nor folder."""
    files: list[Path] = []
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        found.wrong(folder, "a folder that can be read", reason(error))
        return []
    for path in entries:
        if SYSTEM.fullmatch(path.name):
            continue
        if not path.name.isprintable():
            found.wrong(path, "a file name of printable characters", "others")
        elif path.is_file():
            files.append(path)
        elif not path.is_dir():  # a pipe that would never end, a link to nothing or to itself
            found.wrong(path, "a file", "none behind this name")
        elif path.suffix.lower() in (*SUFFIXES, ".csv"):
            found.wrong(path, "a file", "a folder")
        elif folder.resolve().is_relative_to(path.resolve()):
            found.wrong(path, "a folder below this one", "a link to one above")
        else:
            before = len(found.problems)
            inner = _walk(path, found)
            if not inner and len(found.problems) == before:
                found.left_out.append(f"{path.name}/: empty")
            files += inner
    return files


def _match(images: list[_File], masks: list[_File]) -> tuple[str, dict[Path, list[_File]]]:
    """Returns the first rule that leaves nothing over, or else the least, and the masks of each image."""
    best: tuple[int, str, dict[Path, list[_File]]] = (len(images) + len(masks) + 1, "no rule", {})
    different = len({(image.split, image.others, image.stem) for image in images})
    for title, of_image, of_mask in NAMES:
        if title == ONE_WORD and len({str(of_mask[0].findall(mask.stem)) for mask in masks}) > 1:
            continue
        for within in (True, False):  # the same patient's or class's folder, or wherever
            keyed: dict[tuple[object, ...], Path] = {}
            for image in images:
                keyed.setdefault((image.split, image.others * within, _without(image.stem, of_image)), image.path)
            if len(keyed) < different:  # two images would claim one mask
                continue
            pairs: dict[Path, list[_File]] = defaultdict(list)
            for mask in masks:
                if path := keyed.get((mask.split, mask.others * within, _without(mask.stem, of_mask))):
                    pairs[path].append(mask)
            left = len(images) - len(pairs) + len(masks) - sum(map(len, pairs.values()))
            best = min(best, (left, title, dict(pairs)), key=lambda rule: rule[0])
    return best[1:]


def _conflict(masks: Sequence[_File], rule: str) -> bool:
    """Returns whether several masks of one image are more than parts: numbered ones, or left and right."""
    places = {str(mask.path.parent).lower() for mask in masks}
    if len(places) > 1:
        return len({re.sub("left|right", "", place) for place in places}) > 1
    words = {_mask_word(mask.stem) for mask in masks}
    return len(masks) > 1 and rule != ONE_IMAGE and (len(words) > 1 or not words <= PARTS)


def _pair_up(folder: Path, files: list[_File], found: Found) -> list[Pair]:
    """Returns the pairs, and the folders of patients as their groups where there are some."""
    kept = [file for file in files if file.role != "aside"]
    for meant, others in MEANT:
        names = {name for file in kept for name in file.names}
        out = {name for name in names if re.fullmatch(others, name)}
        rest = [file for file in kept if out.isdisjoint(file.names)]
        if meant == "png" and not {file.stem for file in kept} <= {file.stem for file in rest}:
            continue  # other images, not the same ones in another format
        if any(re.fullmatch(meant, name) for name in names - out):
            kept = rest if {file.role for file in rest} == {file.role for file in kept} else kept
    found.leave_out(folder, sorted({file.path for file in files} - {file.path for file in kept}))
    images, masks = ([file for file in kept if file.role == role] for role in ("image", "mask"))
    rule, matched = _match(images, masks)
    used = {mask.path for of_one in matched.values() for mask in of_one}
    free = {mask.stem: mask for mask in masks if mask.path not in used}
    broken = {Path(problem.file).stem for problem in found.problems}  # named already
    unclear = {file.split for file in (files if broken else free.values())}  # where a mask may be an image's own
    beside = {mask.path.parent for mask in masks}  # where an image without mask has lost it
    stems = Counter((image.split, image.stem) for image in images)
    twice = {split for (split, _), number in stems.items() if number > 1} - {mask.split for mask in masks}  # two roles?
    seen: dict[tuple[object, ...], Path] = {}
    pairs, bare = [], []
    for image in images:
        of_one = matched.get(image.path, [])
        twin = seen.setdefault((image.split, image.others, image.stem), image.path)
        if twin != image.path:
            found.wrong(image.path, f"one picture called {image.stem}", f"{twin.name} as well")
        elif not of_one and image.split not in unclear | twice and image.path.parent not in beside:
            bare.append(image.path)
        elif not of_one and image.stem not in broken:
            near = difflib.get_close_matches(image.stem, free, 1, 0.5)
            hint = f"; is it {free[near[0]].path.name}? Then give both one name" if near else ""
            hint = "; are these channels? Save all as one file" if re.search(r"_000\d$", image.stem) else hint
            found.wrong(image.path, "a mask of its name", f"none{hint}")
        elif of_one and _conflict(of_one, rule):
            both = " and ".join(str(mask.path.relative_to(folder)) for mask in of_one[:3])
            found.wrong(image.path, "one mask, or numbered parts of one; take the others away", both)
        elif of_one:
            group = "/".join(image.others)
            name = image.stem if stems[image.split, image.stem] == 1 else f"{group}/{image.stem}".lstrip("/")
            objects = len(of_one) == 1 and _mask_word(of_one[0].stem) in OBJECTS
            of_image = tuple(mask.path for mask in of_one)
            pairs.append(Pair(image.split, name, image.path, of_image, group or None, objects=objects))
    for mask in masks:
        if mask.path not in used and mask.stem not in broken:
            found.wrong(mask.path, "an image of its name", "none")
    if bare:
        found.left_out.append(f"images without masks: {len(bare)} in {_places(folder, bare)}")
    if not pairs:
        return []
    found.told["pairs"] = rule
    for what, paths in (("images", [p.image for p in pairs]), ("masks", [m for p in pairs for m in p.masks])):
        found.told[what] = f"{len(paths)} in {_places(folder, paths)}"
    groups = sorted({pair.group or "" for pair in pairs})
    unlike = len({re.sub("[0-9]", "", group) for group in groups}) == len(groups) < FEW_GROUPS  # no normal_1, normal_2
    classes = unlike and len(groups) > 1 and any(map(CLASSES.search, groups))
    if classes:
        found.told["groups"] = f"none known: {few(groups)} are taken for classes; else write groups.csv"
    if classes or not (1 < len(groups) < len(pairs) and all(groups)):
        return [pair._replace(group=None) for pair in pairs]
    doubt = "; if these are classes and not patients, write groups.csv" if len(groups) < FEW_GROUPS else ""
    found.told["groups"] = f"{len(groups)} folders: {few(groups)}{doubt}"
    return pairs


def _look_around(folder: Path, pictures: Sequence[Path]) -> tuple[Path, list[_File]]:
    """Returns the folder around all pictures, which may be called anything, and what the rest of each path says."""
    parents, around = {path.parent for path in pictures}, folder
    for name in Path(os.path.commonpath(parents or [folder])).relative_to(folder).parts:
        split, role, words = _meaning(name)
        if split or (role and len(words) == 1):
            break
        around /= name
    inner = {parent: parent.relative_to(around).parts for parent in parents}
    files = [_look_at(path, inner[path.parent]) for path in pictures]
    if not any(file.split for file in files) and all(IN_NAME.fullmatch(file.stem) for file in files):
        files = [file._replace(split=SPLITS[file.stem.split("_")[0].lower()]) for file in files]
    return around, files


def find_pairs(folder: Path, test_fraction: float) -> Found:
    """Returns what `lib.data.reading.load_dataset` reads a folder as."""
    found = Found()
    paths = _walk(folder, found)
    pictures = [path for path in paths if path.suffix.lower() in SUFFIXES]
    around, files = _look_around(folder, pictures)
    tables = [path for path in paths if TABLE.fullmatch(path.name)]
    tables = tables or [path for path in paths if path.parent == around and path.name.lower() == GRADES]
    read = {*pictures, *tables}
    found.leave_out(folder, [path for path in paths if path not in read])
    splits = {file.split for file in files} - {""}
    outside = [file.path for file in files if splits and not file.split]  # beside Train and Test, and in neither
    found.leave_out(folder, outside, ", in no split")
    files = [file for file in files if file.split or not splits]
    roles = Counter(file.role for file in files)
    shown = "" if files else few([path.relative_to(folder).as_posix() for path in paths], 3) or "nothing"
    if not found.problems and bool(roles["image"]) != bool(roles["mask"]):
        which = "all" if roles["mask"] else "none"
        shown = (
            f"{roles['image'] + roles['mask']} pictures of which {which} are called masks, as in masks/ or a_mask.png"
        )
    if shown:
        suffixes = f"; pictures end in {' '.join(SUFFIXES)}" if paths and not files else ""
        found.wrong(folder, "pictures and their masks", shown + (_advice(paths) or suffixes))
        return found

    pairs = _pair_up(folder, files, found)
    if found.problems and not pairs:
        return found
    present = {pair.split for pair in pairs}
    exact = (part.lower() in SPLITS for path in pictures for part in path.relative_to(folder).parts)
    alone = present == {"train"} != splits or (len(splits) == 1 and not any(exact))  # train/ wants one called test
    divide = pairs and (not splits or alone)
    validated = {"train", "val"} <= present
    for split in ("train", "test"):
        there = any(file.split == split for file in files)
        wanted = splits and not divide and split not in present and not (validated and split == "test")
        if wanted and not (there and found.problems):  # which say what is wrong there
            none = "images without masks" if there else "none"
            found.wrong(folder / split, "a folder of images and masks", none)
    if divide and outside:
        found.wrong(folder / "test", "a folder of images and masks beside train", "none")
    pairs = _add_groups(around, pairs, tables, found)
    if not pairs and not found.problems:
        found.wrong(folder, "pictures and their masks", "none but what is left out")
    if validated:
        joined, told = ("train", "joined to the training") if "test" in present else ("test", "are the test")
        found.told["splits"] = f"validation images {told} images"
        taken = {pair.name for pair in pairs if pair.split == joined}
        pairs = [
            pair._replace(split=joined, name="val/" * (pair.name in taken) + pair.name) if pair.split == "val" else pair
            for pair in pairs
        ]
    if divide and not found.problems:
        groups = [pair.group or pair.name for pair in pairs]
        if len(set(groups)) > 1:
            test = choose_test(groups, test_fraction)
            pairs = [p._replace(split="test" if g in test else "train") for p, g in zip(pairs, groups, strict=True)]
            found.told["splits"] = f"divided here, {test_fraction:.0%} for testing, whole groups together"
        else:
            found.wrong(folder, "at least two images, of two groups, to divide", len(set(groups)))
    found.pairs = sorted(pairs, key=lambda pair: {"test": 1, "testB": 2}.get(pair.split, 0))
    return found


def choose_test(groups: Iterable[str], fraction: float) -> set[str]:
    """Returns which groups are for testing: whole ones, in the order of their names' hashes.

    They hold a fraction of the images as near as whole groups allow on this way, and neither split is empty.
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
        lines = io.StringIO(data.decode("utf-8-sig"), newline=None).readlines()  # None: a bare CR ends a line, too
        separator = max(",;\t", key="".join(lines[:1]).count)
        reader = csv.reader(lines, strict=True, skipinitialspace=True, delimiter=separator)
        header, *rows = [[value.strip() for value in row] for row in reader] or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        problems.append(Problem(file, "a table in CSV and UTF-8", error))
        return {}
    if not set(columns) <= set(header) or len(set(header)) < len(header):
        problems.append(Problem(file, f"the columns {', '.join(columns)}, once each", ", ".join(header) or "none"))
        return {}
    table: dict[tuple[str, ...], Row] = {}
    for number, values in enumerate(rows, start=2):
        if not any(values):
            continue
        row = dict(zip(header, values, strict=False))
        key = tuple(row.get(column, "") for column in columns[:keys])
        if len(values) != len(header):
            problems.append(Problem(file, f"{len(header)} values in row {number}", len(values)))
        elif empty := [column for column in columns if not row[column]]:
            problems.append(Problem(file, f"a value for {empty[0]} in row {number}", "none"))
        elif key in table:
            problems.append(Problem(file, f"one row for {' in '.join(key)}", f"another in row {number}"))
        else:
            table[key] = row
    return table


def _add_groups(folder: Path, pairs: list[Pair], tables: list[Path], found: Found) -> list[Pair]:
    """Returns the pairs with patients or groups, sizes before an import and grades, as the folder's table has them."""
    names = ("groups.csv", "images.csv", GRADES)
    ours = [path for path in tables if path.name.lower() in names and folder.is_relative_to(path.parent)][:1]
    for path in tables:
        if path not in ours:
            expected = f"one table beside the pictures, {ours[0].name if ours else 'groups.csv'}"
            found.wrong(path, expected, "this one; rename it or take it away")
    if not ours:
        found.told.setdefault("groups", _hint_of_groups(pairs))
        return pairs
    file, before = ours[0], len(found.problems)
    data, kind = file.read_bytes(), file.name.lower()
    keys: list[tuple[str, ...]]
    if kind == GRADES:
        columns = ["name", "patient ID"]
        keys = [(IN_GRADES.get(pair.split, "") + pair.name.split("_")[-1].lstrip("0"),) for pair in pairs]
    else:
        first = "".join(data.decode("utf-8-sig", "replace").lower().splitlines()[:1])
        header = [column.strip(' "') for column in re.split("[,;\t]", first)]
        usual = ["split", "patient"] if kind == "images.csv" else ["group"]
        split = ["split"] if "split" in header + usual else []
        columns = ["name", *split, next((name for name in ("group", "patient") if name in header), usual[-1])]
        keys = [(pair.name, pair.split)[: len(columns) - 1] for pair in pairs]
    table = read_table(file, data, columns, len(columns) - 1, found.problems)
    if len(found.problems) > before:
        return pairs
    rows = {
        (_stem(key[0]), *(SPLITS.get(split.lower(), split) for split in key[1:])): row for key, row in table.items()
    }
    if len(rows) < len(table):
        found.wrong(file, "one row for each image", "two with one name but for their suffixes")
    for key in rows.keys() - set(keys):
        if kind != GRADES and not before:
            found.wrong(file, "rows for images of this folder", f"one for {' in '.join(key)}")
    for key in set(keys) - rows.keys():
        found.wrong(file, f"a row for {' in '.join(key)}", "none")
    if len(found.problems) > before:
        return pairs
    of_pairs = [rows[key] for key in keys]
    found.told["groups"] = f"{len({row[columns[-1]] for row in of_pairs})} in {file.name}"
    grade = "grade (GlaS)" if kind == GRADES else "grade"
    return [
        pair._replace(group=row[columns[-1]], original=_original(row), grade=row.get(grade) or None)
        for pair, row in zip(pairs, of_pairs, strict=True)
    ]


def _hint_of_groups(pairs: list[Pair]) -> str:
    """Returns that groups are not known, and which ones the names look like."""
    starts = Counter(match[1] for pair in pairs if (match := re.match(r"(.*?\d.*?)[._ -]+[^._ -]+$", pair.name)))
    if len(pairs) >= 4 and 1 < len(starts) <= len(pairs) / 2 and starts.total() == len(pairs):
        return f"none known; names look like patients ({few(sorted(starts), 3)}): write groups.csv with name,group"
    return "none known: each image counts as one of its own"


def _original(row: Row) -> tuple[int, int] | None:
    size = re.fullmatch(r"([0-9]{1,6}) ([0-9]{1,6})", f"{row.get('height')} {row.get('width')}")
    return (int(size[1]), int(size[2])) if size else None
