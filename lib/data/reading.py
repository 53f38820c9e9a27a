"""Loading a dataset: the embedded set, or a folder of images and masks."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Bool
from scipy import ndimage
from tqdm import tqdm

from lib._errors import Problem, UserError, reason
from lib._files import cores, user_path
from lib.data import cache
from lib.data.dataset import SIDES, SIZE, STAINS, SYNTHETIC, Dataset, Split, check_size
from lib.data.folders import Found, Pair, find_pairs
from lib.data.images import (
    COLOUR,
    Rule,
    bits_used,
    read_image,
    read_mask,
    read_size,
    resize_image,
    resize_mask,
    size_text,
    told_bits,
)  # fmt: skip
from lib.data.stain import unmixed
from lib.data.synthetic import draw_dataset

MANY = 500  # images, of which progress is shown; fewer are read in a second
LARGEST_KEPT = 512 * 512  # pixels of images that keep their size unless a size is given
BYTES_A_PIXEL = 7900  # of a process that trains the study's networks: 6.2 GB were measured at 1024x768 ...
UNET_BYTES_A_PIXEL = 16_300  # ... and the U-Net of section 4 while it is scored, measured at 256x256; to train, 12,000
SUBJECTS = ("images", "masks", "pairs", "splits", "groups")  # of what is told of a folder
FEWEST_LEVELS = 16  # of 256 that the training images have to use, but for one value in a thousand
# A pair at its size in the dataset, its original one, what was done to the image, and its masks' rules.
Read = tuple[np.ndarray, Bool[np.ndarray, "height width"], tuple[int, int], tuple[str, ...], list[Rule]]


def load_dataset(
    source: str,
    *,
    size: int | None = None,
    stain: str = "rgb",
    test_fraction: float = 0.4,
    foreground: str = "",
    key: str = "",
) -> Dataset:
    """Draws the embedded set or reads a folder, once: it is kept in data/cache until a file or a parameter changes.

    `lib.data.folders` says which files of a folder are pairs, `lib.data.images` what becomes of their pixels.
    `Dataset.notes` tells what was decided, and `make data CHECK=` as well.

    Args:
        source: "synthetic", or the folder; relative ones are looked up from the project's.
        size: side in pixels of the squares that images become, even, 16 to 1024, whatever their proportions: averages
            over areas, majorities of masks. None is 128, but images that lie beside their masks and all have one size
            with even sides keep it. The embedded set is drawn larger.
        stain: "rgb", or "unmixed" for haematoxylin, eosin and the rest as channels (see `lib.data.stain.unmix`), scaled
            by their 1st and 99th percentile over the training split.
        test_fraction: share of the images, above 0 and below 1, for testing where the folder does not say.
        foreground: values of the masks that are foreground, such as "1,2" or "0xff0000"; "" leaves it to the rules.
        key: of the dataset that is meant, `Dataset.key`, whatever has become of its files since; "" reads them.

    Raises:
        UserError: naming the first thing that is not as expected, and how many more there are; or the dataset of this
            key is no longer kept and its files have changed.
    """
    if size is not None:
        check_size(size)
    if stain not in STAINS:
        raise UserError(f"STAIN={stain}: expected {' or '.join(STAINS)}, found {stain!r}")
    if not 0 < test_fraction < 1:
        raise UserError(f"TEST_FRACTION={test_fraction}: expected a number above 0 and below 1, found {test_fraction}")
    values = foreground_values(foreground)
    if key and (kept := cache.read(key, stain)):
        return kept
    if stain == "unmixed":
        colours = load_dataset(source, size=size, test_fraction=test_fraction, foreground=foreground, key=key)
        return cache.read(colours.key, stain) or cache.write(unmixed(colours))
    if source == SYNTHETIC:
        drawn = cache.key_of(SYNTHETIC, size or SIZE)
        made = cache.read(drawn, "rgb")
        dataset = made or cache.write(Dataset(SYNTHETIC, *draw_dataset(size=size or SIZE), key=drawn))
    else:
        folder = user_path(source)
        if not folder.is_dir():
            found = "a file; unpack it first" if folder.is_file() else "no such folder"
            raise UserError(f"DATASET={source}: expected 'synthetic' or a folder of images, found {found}")
        _, read, problems = read_folder(folder, size, test_fraction, values)
        if read is None:
            raise UserError(first_of(problems, f"; make data CHECK={shlex.quote(source)} lists all"))
        dataset = read
    if key not in ("", dataset.key):
        raise UserError(f"DATASET={source}: expected the files that the report began with, found them changed")
    return dataset


def foreground_values(text: str) -> tuple[int, ...]:
    """Returns the values in a text such as "1,2" or "0xff0000"; raises UserError for any other."""
    try:
        return tuple(sorted({int(value, 0) for value in text.split(",")})) if text else ()
    except ValueError:
        expected = "expected values of masks such as 1,2 or 0xff0000"
        raise UserError(f"FOREGROUND={text}: {expected}, found {text!r}") from None


def first_of(problems: Sequence[Problem], hint: str = "") -> str:
    """Returns the first problem, how many more there are, and in that case what to do about it."""
    return f"{problems[0]}" + (f"; and {len(problems) - 1} more{hint}" if len(problems) > 1 else "")


def read_folder(
    folder: Path, size: int | None = None, test_fraction: float = 0.4, foreground: tuple[int, ...] = ()
) -> tuple[Found, Dataset | None, list[Problem]]:
    """Reads a folder as `load_dataset` says, to its end.

    Returns:
        What it was read as; the dataset that it makes, None where something is wrong with it; and all that is.
    """
    try:
        found = find_pairs(folder, test_fraction)
    except OSError as error:  # a folder may be listed, but not entered
        found = Found(problems=[Problem(error.filename or folder, "a path that can be read", reason(error))])
    key = "" if found.problems else _key_of(found, size, foreground)
    if key and (kept := cache.read(key, "rgb")):
        return found, kept, []
    splits = _read_pairs(folder, found, size, foreground) if found.pairs else {}
    if not found.problems and key != _key_of(found, size, foreground):
        found.wrong(folder, "files that stay as they are while they are read", "some that changed")
    if found.problems:
        return found, None, sorted(found.problems, key=lambda p: (p.file, p.expected, p.found))
    three = splits["train"], splits["test"], splits.get("testB")
    return found, cache.write(Dataset(folder.resolve().name, *three, key=key, notes=notes_of(found))), []


def _key_of(found: Found, *parameters: object) -> str:
    """Returns the key of what a folder holds: its pairs, and their files as the system describes them."""
    stats = [path.stat() for pair in found.pairs for path in (pair.image, *pair.masks)]
    files = [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]
    return cache.key_of([str(pair) for pair in found.pairs], files, found.told, found.left_out, parameters)


def notes_of(found: Found) -> tuple[str, ...]:
    """Returns what a folder was read as, what was left out and what was done, as `Dataset.notes` tell it."""
    told = [f"{subject}: {found.told[subject]}" for subject in SUBJECTS if subject in found.told]
    return (*told, *(f"left out: {text}" for text in found.left_out), *found.facts)


def _shape(found: Found, size: int | None, pool: ThreadPoolExecutor) -> tuple[int, int]:
    """Returns the height and width that all images get: the given size, or their own if all have one and it will do."""
    images = [pair.image for pair in found.pairs]
    beside = all(pair.image.parent == pair.masks[0].parent for pair in found.pairs)
    sizes = set(pool.map(read_size, images)) if beside and not size else set()
    height, width = (sizes.pop() or (1, 1)) if len(sizes) == 1 else (1, 1)
    if height % 2 or width % 2:  # pooling halves sides
        return (size or SIZE,) * 2
    if height in SIDES and width in SIDES and height * width <= LARGEST_KEPT:
        return height, width
    memory = f" ({height * width * UNET_BYTES_A_PIXEL / 1e9:.1f} GB a process in training)"
    found.wrong(
        images[0].parent,
        f"images that can keep their size, of sides from {SIDES[0]} and {LARGEST_KEPT} pixels at most",
        f"{width}x{height} pixels{memory * (height * width > LARGEST_KEPT)}; give SIZE={SIZE}, say",
    )
    return SIZE, SIZE


def _read_pair(pair: Pair, shape: tuple[int, int], foreground: tuple[int, ...], problems: list[Problem]) -> Read | None:
    """Reads an image and joins its masks; adds what is wrong to the problems, and returns None then."""
    image, parts = None, []
    try:
        image, facts = read_image(pair.image, pair.image)
    except Problem as problem:
        problems.append(problem)
    for file in pair.masks:
        try:
            part = read_mask(file, file, foreground, pair.objects)
            if image is not None and part.foreground.shape != image.shape[:2]:
                sizes = f"{size_text(part.foreground)}, the image {size_text(image)}"
                raise Problem(file, "its image's size", sizes)
            parts.append(part)
        except Problem as problem:
            problems.append(problem)
    if image is None or len(parts) < len(pair.masks):
        return None
    masks = np.sum([part.foreground for part in parts], axis=0, dtype=np.uint8)  # how many, at each pixel
    if (masks > 1).sum() > 0.1 * (masks > 0).sum():
        expected = "parts of one mask that lie beside each other"
        problems.append(Problem(pair.image, expected, "masks of the same pixels: two observers?"))
        return None
    original = pair.original or (image.shape[0], image.shape[1])
    mask = resize_mask(np.asarray(masks > 0), shape)
    return resize_image(image, shape), mask, original, facts, [part.rule for part in parts]


def _read_pairs(folder: Path, found: Found, size: int | None, foreground: tuple[int, ...]) -> dict[str, Split]:
    """Returns the splits; adds what was done and ignored to the facts, and what could not be read to the problems."""
    pairs, count = found.pairs, len(found.pairs)
    rules: list[tuple[Pair, Rule]] = []
    sizes: list[tuple[int, int]] = []
    facts: Counter[str] = Counter()
    wide: dict[int, np.ndarray] = {}  # images of more than 8 bits, until it is known of how many
    with ThreadPoolExecutor(min(8, cores())) as pool:  # decoders let other threads run
        shape = _shape(found, size, pool)
        images, masks = np.zeros((count, *shape, 3), np.uint8), np.zeros((count, *shape), np.bool_)
        reading = pool.map(lambda pair: _read_pair(pair, shape, foreground, found.problems), pairs)
        for index, read in enumerate(tqdm(reading, "reading", count, unit="image", disable=count < MANY)):
            if read is not None:
                image, masks[index], original, done, of_parts = read
                (images if image.dtype == np.uint8 else wide)[index] = image
                sizes.append(original)
                facts.update(done)
                rules += [(pairs[index], rule) for rule in of_parts]
    if found.problems:
        return {}
    if wide:
        bits = bits_used(wide.values())
        for index, image in wide.items():
            images[index] = image >> (bits - 8)
        found.facts.append(told_bits(f"{len(wide)} images", bits))
    found.facts += [f"{fact}: {number} images" for fact, number in facts.items()]
    _judge_masks(folder, found, rules)
    _judge_pixels(folder, found, images, masks)
    splits, start = {}, 0
    for which, number in Counter(pair.split for pair in pairs).items():  # the pairs of a split lie together
        part = slice(start, start := start + number)
        names = tuple(pair.name for pair in pairs[part])
        patients, grades = (_known(getattr(pair, what) for pair in pairs[part]) for what in ("group", "grade"))
        splits[which] = Split(names, images[part], masks[part], patients, tuple(sizes[part]), grades)
    return splits


def _known(values: Iterable[str | None]) -> tuple[str, ...] | None:
    """Returns values of all images, None where one is not known."""
    known = tuple(values)
    return None if None in known else cast(tuple[str, ...], known)


def _judge_masks(folder: Path, found: Found, read: Sequence[tuple[Pair, Rule]]) -> None:
    """Tells by which rules masks were read, or that what single masks leave open is undecided over all of them."""
    counts = Counter(rule.name for _, rule in read)
    found.facts.append("mask rule: " + ", ".join(f"{count} of {name}" for name, count in counts.items()))
    if neither := [rule.neither for _, rule in read if rule.name == "nearly two values"]:
        share = f"{np.mean(neither):.1%} of the pixels were neither, {max(neither):.1%} in the worst mask"
        found.facts.append(f"cut at half of the range: {share}")
    numbered = {rule.levels for pair, rule in read if rule.name == "numbered objects" and not pair.objects}
    values = {level for _, rule in read if rule.name == "two values" for level in rule.levels}
    levels: Sequence[int] = ()
    if numbered and not (len(numbered) > 1 and all(some == tuple(range(1, len(some) + 1)) for some in numbered)):
        levels, expected, doubt = (
            max(numbered, key=len),
            "masks whose numbers are objects beyond doubt",
            "may be classes",
        )
    elif not numbered and len(values - {255} if max(values, default=0) < COLOUR else values) > 1:
        levels, expected, doubt = sorted(values), "masks with the same two values", "in different masks"
    if levels:
        shown = [str(level) if level < COLOUR else f"0x{level - COLOUR:06x}" for level in levels[:4]]
        ask = f"FOREGROUND={shown[0]}, say, tells which are foreground"
        found.wrong(folder, expected, f"{', '.join(shown)} {doubt}; {ask}")


def _judge_pixels(folder: Path, found: Found, images: np.ndarray, masks: np.ndarray) -> None:
    """Finds what makes training pointless although every single file is fine, and what is odd."""
    n_train = sum(pair.split == "train" for pair in found.pairs)
    train = masks[:n_train]
    if train.all() or not train.any():
        every = "only foreground" if train.all() else "none"
        found.wrong(folder, "foreground and background in the training masks", every)
    counts = np.sum([np.bincount(image.ravel(), minlength=256) for image in images[:n_train]], axis=0)
    high = int(np.searchsorted(np.cumsum(counts), 0.999 * counts.sum()))
    if high < FEWEST_LEVELS:
        most = f"99.9% of their values are at most {high} of 255"
        found.wrong(folder, "training images that use their range; scale them up", most)
    if masks.mean(axis=(1, 2)).min() > 0.5:
        found.facts.append("warning: more than half of every image is foreground; are the masks inverted?")
    filled = [ndimage.binary_fill_holes(mask).sum() > 2 * mask.sum() for mask in train[:50] if mask.any()]
    if filled and np.mean(filled) > 0.9:
        found.facts.append("warning: the masks enclose more background than they hold; are they outlines of areas?")
    if not masks[n_train:].any():
        found.facts.append("warning: no test mask holds foreground")
