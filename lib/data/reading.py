"""Loading a dataset: the embedded set, or a folder of images and masks."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
from tqdm import tqdm

from lib._errors import Problem, UserError, reason
from lib._files import cores, user_path
from lib.data import cache
from lib.data.dataset import SIDES, SIZE, STAINS, SYNTHETIC, Dataset, Split, check_size
from lib.data.folders import Found, Pair, find_pairs
from lib.data.images import Rule, read_image, read_mask, read_size, resize_image, resize_mask, size_text
from lib.data.stain import unmixed
from lib.data.synthetic import draw_dataset

MANY = 500  # images, of which progress is shown; fewer are read in a second
LARGEST_KEPT = 512 * 512  # pixels of images that keep their size unless a size is given
BYTES_A_PIXEL = 7900  # of a process that trains: 6.2 GB were measured at 1024x768
SUBJECTS = ("images", "masks", "pairs", "splits", "groups")  # of what is told of a folder
FEWEST_LEVELS = 16  # of 256 that the training images have to use, but for one value in a thousand


class Reading(NamedTuple):
    """What a folder was read as, the dataset that it makes unless there are problems, and these."""

    found: Found
    dataset: Dataset | None
    problems: list[Problem]


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
        size: side in pixels of the squares that images are resized to, even, 16 to 1024. None is 128, but images that
            lie beside their masks and all have one size with even sides keep it. Images are averaged over areas, masks
            decided by majority; proportions are not kept. The embedded set is drawn larger.
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
        dataset = _draw(size or SIZE)
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
        raise UserError(
            f"FOREGROUND={text}: expected values of masks such as 1,2 or 0xff0000, found {text!r}"
        ) from None


def _draw(size: int) -> Dataset:
    key = cache.key_of(SYNTHETIC, size)
    return cache.read(key, "rgb") or cache.write(Dataset(SYNTHETIC, *draw_dataset(size=size), key=key))


def first_of(problems: Sequence[Problem], hint: str = "") -> str:
    """Returns the first problem, how many more there are, and in that case what to do about it."""
    return f"{problems[0]}" + (f"; and {len(problems) - 1} more{hint}" if len(problems) > 1 else "")


def read_folder(
    folder: Path, size: int | None = None, test_fraction: float = 0.4, foreground: tuple[int, ...] = ()
) -> Reading:
    """Reads a folder as `load_dataset` says, to its end: whatever is wrong with it is among the problems."""
    problems: list[Problem] = []
    try:
        found = find_pairs(folder, test_fraction, problems)
    except OSError as error:  # a folder may be listed, but not entered
        unread = Problem(error.filename or folder, "a path that can be read", reason(error))
        return Reading(Found(), None, [*problems, unread])
    key = "" if problems else _key_of(found, size, foreground)
    if key and (kept := cache.read(key, "rgb")):
        return Reading(found, kept, [])
    facts: list[str] = []
    splits = _read_pairs(folder, found.pairs, size, foreground, facts, problems) if found.pairs else {}
    if key and not problems and key != _key_of(found, size, foreground):
        problems.append(Problem(folder, "files that stay as they are while they are read", "some that changed"))
    if problems or not key:
        return Reading(found, None, sorted(problems, key=lambda p: (p.file, p.expected, p.found)))
    train, test, test_b = (splits.get(which) for which in ("train", "test", "testB"))
    if train is None or test is None:  # find_pairs has named what is missing
        return Reading(found, None, problems)
    name, notes = folder.resolve().name, (*notes_of(found), *facts)
    return Reading(found, cache.write(Dataset(name, train, test, test_b, key=key, notes=notes)), [])


def _key_of(found: Found, *parameters: object) -> str:
    """Returns the key of what a folder holds: its pairs, and their files as the system describes them."""
    paths = [path for pair in found.pairs for path in (pair.image, *pair.masks)]
    files = [(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in (path.stat() for path in paths)]
    return cache.key_of([str(pair) for pair in found.pairs], files, notes_of(found), parameters)


def notes_of(found: Found) -> tuple[str, ...]:
    """Returns what a folder was read as and what was left out, as `Dataset.notes` tell it."""
    told = [f"{subject}: {found.told[subject]}" for subject in SUBJECTS if subject in found.told]
    return (*told, *(f"left out: {text}" for text in found.left_out))


def _shape(pairs: Sequence[Pair], size: int | None, pool: ThreadPoolExecutor) -> tuple[int, int]:
    """Returns the height and width that all images get; raises Problem where they would keep one that is too large."""
    beside = all(pair.image.parent == pair.masks[0].parent for pair in pairs)
    sizes = set(pool.map(read_size, [pair.image for pair in pairs])) if beside and not size else set()
    height, width = (sizes.pop() or (1, 1)) if len(sizes) == 1 else (1, 1)
    if height % 2 or width % 2:  # pooling halves sides
        return (size or SIZE,) * 2
    if height not in SIDES or width not in SIDES or height * width > LARGEST_KEPT:
        expected = f"images that can keep their size, of sides from {SIDES[0]} and {LARGEST_KEPT} pixels at most"
        memory = f" ({height * width * BYTES_A_PIXEL / 1e9:.1f} GB a process in training)"
        found = f"{width}x{height} pixels{memory * (height * width > LARGEST_KEPT)}; give SIZE={SIZE}, say"
        raise Problem(pairs[0].image.parent, expected, found)
    return height, width


def _read_pairs(
    folder: Path,
    pairs: Sequence[Pair],
    size: int | None,
    foreground: tuple[int, ...],
    facts: list[str],
    problems: list[Problem],
) -> dict[str, Split]:
    """Returns the splits; adds what was done and ignored to the facts, and what could not be read to the problems."""
    with ThreadPoolExecutor(min(8, cores())) as pool:  # decoders let other threads run
        try:
            shape = _shape(pairs, size, pool)
        except Problem as problem:
            problems.append(problem)
            return {}
        images, masks = np.zeros((len(pairs), *shape, 3), np.uint8), np.zeros((len(pairs), *shape), np.bool_)
        wide: dict[int, np.ndarray] = {}  # images of more than 8 bits, until it is known of how many

        def read(index: int) -> tuple[tuple[int, int], list[Rule], tuple[str, ...], list[Problem]]:
            pair, parts = pairs[index], []
            wrong: list[Problem] = []
            image = None
            try:
                image, told = read_image(pair.image, pair.image)
            except Problem as problem:
                wrong.append(problem)
            for file in pair.masks:
                try:
                    parts.append(read_mask(file, file, foreground, pair.objects))
                    if image is not None and parts[-1].foreground.shape != image.shape[:2]:
                        found = f"{size_text(parts[-1].foreground)}, the image {size_text(image)}"
                        wrong.append(Problem(file, "its image's size", found))
                except Problem as problem:
                    wrong.append(problem)
            if wrong or image is None:
                return (0, 0), [], (), wrong
            area = sum((part.foreground.astype(np.uint8) for part in parts), np.zeros(image.shape[:2], np.uint8))
            if (area > 1).sum() > 0.1 * (area > 0).sum():
                expected = "parts of one mask that lie beside each other"
                return (0, 0), [], (), [Problem(pair.image, expected, "masks of the same pixels: two observers?")]
            small = resize_image(image, shape)
            if small.dtype == np.uint8:
                images[index] = small
            else:
                wide[index] = small
            masks[index] = resize_mask(area > 0, shape)
            return (image.shape[0], image.shape[1]), [part.rule for part in parts], told, []

        reading = tqdm(
            pool.map(read, range(len(pairs))), "reading", len(pairs), unit="image", disable=len(pairs) < MANY
        )
        done = list(reading)
    problems += [problem for _, _, _, wrong in done for problem in wrong]
    if wide:
        bits = max(8, max(int(image.max()) for image in wide.values()).bit_length())
        for index, image in wide.items():
            images[index] = image >> (bits - 8)
        facts.append(f"16 bits: {len(wide)} images, of which {bits} bits are used, divided by {2 ** (bits - 8)}")
    counts = Counter(fact for _, _, told, _ in done for fact in told)
    facts += [f"{fact}: {count} images" for fact, count in counts.items()]
    if not problems:
        rules = [(pair, rule) for pair, (_, of_one, _, _) in zip(pairs, done, strict=True) for rule in of_one]
        _judge_masks(folder, rules, facts, problems)
        n_train = sum(pair.split == "train" for pair in pairs)
        problems += _check_training(folder, images[:n_train], masks[:n_train])
        if masks.mean(axis=(1, 2)).min() > 0.5:
            facts.append("warning: more than half of every image is foreground; are the masks inverted?")
        if not masks[n_train:].any():
            facts.append("warning: no test mask holds foreground")
    splits, start = {}, 0
    for which in ("train", "test", "testB"):  # in which order the pairs come
        ours = [pair for pair in pairs if pair.split == which]
        if not ours:
            continue
        part = slice(start, start := start + len(ours))
        splits[which] = Split(
            names=tuple(pair.name for pair in ours),
            images=images[part],
            masks=masks[part],
            patients=_known(pair.group for pair in ours),
            original_sizes=tuple(p.original or s for p, (s, _, _, _) in zip(ours, done[part], strict=True)),
            grades=_known(pair.grade for pair in ours),
        )
    return splits


def _known(values: Iterable[str | None]) -> tuple[str, ...] | None:
    """Returns values of all images, None where one is not known."""
    known = tuple(values)
    return None if None in known else cast(tuple[str, ...], known)


def _judge_masks(folder: Path, masks: Sequence[tuple[Pair, Rule]], facts: list[str], problems: list[Problem]) -> None:
    """Adds by which rules masks were read, or that what single masks leave open is undecided over all of them."""
    rules = Counter(rule.name for _, rule in masks)
    facts.append("mask rule: " + ", ".join(f"{count} of {name}" for name, count in rules.items()))
    if neither := [rule.neither for _, rule in masks if rule.name == "nearly two values"]:
        share = f"{np.mean(neither):.1%} of the pixels were neither, {max(neither):.1%} in the worst mask"
        facts.append(f"cut at half of the range: {share}")
    numbered = {rule.levels for pair, rule in masks if rule.name == "numbered objects" and not pair.objects}
    consecutive = all(levels == tuple(range(1, len(levels) + 1)) for levels in numbered)
    values = {level for _, rule in masks if rule.name == "two values" for level in rule.levels}
    ask = "; FOREGROUND=1, say, tells which are foreground"
    if numbered and not (consecutive and len(numbered) > 1):
        shown = ", ".join(map(str, max(numbered, key=len)[:4]))
        problems.append(Problem(folder, "masks whose numbers are objects beyond doubt", f"{shown} may be classes{ask}"))
    elif not numbered and len(values - {255}) > 1:
        shown = ", ".join(map(str, sorted(values)[:4]))
        problems.append(Problem(folder, "masks with the same two values", f"{shown} in different masks{ask}"))


def _check_training(folder: Path, images: np.ndarray, masks: np.ndarray) -> list[Problem]:
    """Finds what makes training pointless although every single file is fine."""
    found = []
    if masks.all() or not masks.any():
        every = "only foreground" if masks.all() else "none"
        found.append(Problem(folder, "foreground and background in the training masks", every))
    counts = sum((np.bincount(image.ravel(), minlength=256) for image in images), np.zeros(256, np.int64))
    high = int(np.searchsorted(np.cumsum(counts), 0.999 * counts.sum()))
    if high < FEWEST_LEVELS:
        expected = "training images that use their range; scale them up"
        found.append(Problem(folder, expected, f"99.9% of their values are at most {high} of 255"))
    return found
