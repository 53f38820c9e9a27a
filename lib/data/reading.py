"""Loading a dataset: the embedded set, or a folder of images and masks."""

import os
import re
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from tqdm import tqdm

from lib._errors import Problem, UserError, reason
from lib._files import ROOT
from lib.data import cache
from lib.data.dataset import SIZE, STAINS, SYNTHETIC, Dataset, Split
from lib.data.folders import Pair, find_pairs
from lib.data.images import read_image, read_mask, read_size, resize_image, resize_mask, size_text
from lib.data.stain import stain_range, unmix
from lib.data.synthetic import draw_dataset

CACHED_FROM = 500  # images; fewer are read in a second


def load_dataset(source: str, *, size: int | None = None, stain: str = "rgb", test_fraction: float = 0.4) -> Dataset:
    """Draws the embedded set or reads a folder.

    A folder (relative ones are looked up from the project's) holds one of:

    - Train/ and Test/, and TestB/ if wanted, each with pairs image_NN.png and label_NN.png; patients in images.csv
      (name, split, patient; one row an image, split is train, test or testB) if known. Images that all have one size
      with even height and width stay as they are, unless `size` is given. The Warwick-QU images' own Grade.csv
      (name, patient ID) is understood as well.
    - train/ and test/ (and testb/), each with images/ and masks/ that hold files of the same stem, patients as before.
    - images/ and masks/ alone: divided here, whole groups together where groups.csv (name, group) tells them.

    Pictures are PNG, JPEG, TIFF or BMP of 8 or 16 bits; `lib.data.images` says how grey, palette, alpha and 16 bits
    become RGB. Masks have one channel and two values, the lower of which is 0; single masks may be all background or
    all foreground, those of the training split together may not.

    Args:
        source: "synthetic", or the folder.
        size: side in pixels of the squares that images are resized to, even, 32 to 1024; None is 128. Images are
            averaged over areas, masks decided by majority; proportions are not kept. The embedded set is drawn larger.
        stain: "rgb", or "unmixed" for haematoxylin, eosin and the rest as channels (see `lib.data.stain.unmix`), scaled
            by their 1st and 99th percentile over the training split.
        test_fraction: share of the images, above 0 and below 1, for testing where the folder does not say.

    Raises:
        UserError: naming the first thing that is not as expected, and how many more there are.
    """
    if size is not None:
        check_size(size)
    if stain not in STAINS:
        raise UserError(f"STAIN={stain}: expected {' or '.join(STAINS)}, found {stain!r}")
    if not 0 < test_fraction < 1:
        raise UserError(f"TEST_FRACTION={test_fraction}: expected a number above 0 and below 1, found {test_fraction}")
    if source == SYNTHETIC:
        train, test = (
            Split(tuple(f"image_{i:02d}" for i, _ in enumerate(images, start=1)), images, masks, tuple(patients))
            for images, masks, patients in draw_dataset(size=size or SIZE)
        )
        if stain == "unmixed":
            limits = stain_range(train.images)
            train, test = (replace(split, images=unmix(split.images, limits)) for split in (train, test))
        return Dataset(SYNTHETIC, train, test, stain=stain)
    folder = ROOT / Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(f"DATASET={source}: expected 'synthetic' or a folder with Train and Test, found no such folder")
    dataset, problems = read_folder(folder, size, stain, test_fraction)
    if dataset is None:
        raise UserError(first_of(problems, f"; make data CHECK={shlex.quote(source)} lists all"))
    return dataset


def check_size(size: int | str) -> int:
    """Returns a size in pixels as a number; raises UserError unless it is even and from 32 to 1024."""
    text = str(size)
    if re.fullmatch("[0-9]{2,4}", text) and int(text) % 2 == 0 and 32 <= int(text) <= 1024:
        return int(text)
    raise UserError(f"SIZE={text}: expected an even number from 32 to 1024, found {text!r}")


def first_of(problems: Sequence[Problem], hint: str = "") -> str:
    """Returns the first problem, how many more there are, and in that case what to do about it."""
    return f"{problems[0]}" + (f"; and {len(problems) - 1} more{hint}" if len(problems) > 1 else "")


def read_folder(
    folder: Path, size: int | None = None, stain: str = "rgb", test_fraction: float = 0.4
) -> tuple[Dataset | None, list[Problem]]:
    """Reads a folder as `load_dataset` says; returns everything that is wrong with it, and a dataset if nothing is."""
    problems: list[Problem] = []
    try:
        pairs = find_pairs(folder, test_fraction, problems)
    except OSError as error:  # a folder may be listed, but not entered
        return None, [*problems, Problem(error.filename or folder, "a path that can be read", reason(error))]
    key = None
    if not problems and len(pairs) >= CACHED_FROM:
        key = cache.key_of(pairs, size, stain)
    stored = cache.read(key) if key else None
    if stored is None:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoders let other threads run
            images, masks, sizes = _read_pairs(pool, pairs, size, problems)
        n_train = sum(pair.split == "train" for pair in pairs)
        if not problems:
            problems += _check_training(folder, images[:n_train], masks[:n_train])
        if problems:
            return None, sorted(problems, key=lambda problem: (problem.file, problem.expected, problem.found))
        if stain == "unmixed":
            limits = stain_range(images[:n_train])
            for index in range(len(images)):  # in place: a second array of all images would be the largest thing here
                images[index : index + 1] = unmix(images[index : index + 1], limits)
        dataset = _assemble(folder, pairs, images, masks, sizes, stain)
        if key:
            cache.write(key, images, masks, {"sizes": sizes, "sha256": dataset.sha256})
        return dataset, []
    images, masks, extra = stored
    dataset = _assemble(folder, pairs, images, masks, [(height, width) for height, width in extra["sizes"]], stain)
    dataset.__dict__["sha256"] = extra["sha256"]  # where cached_property looks first: hashing takes seconds
    return dataset, []


def _assemble(
    folder: Path,
    pairs: Sequence[Pair],
    images: np.ndarray,
    masks: np.ndarray,
    sizes: Sequence[tuple[int, int]],
    stain: str,
) -> Dataset:
    splits, start = {}, 0
    for which in ("train", "test", "testB"):  # in which order the pairs come
        ours = [pair for pair in pairs if pair.split == which]
        part = slice(start, start := start + len(ours))
        splits[which] = Split(
            names=tuple(pair.name for pair in ours),
            images=images[part],
            masks=masks[part],
            patients=None if any(pair.group is None for pair in ours) else tuple(str(pair.group) for pair in ours),
            original_sizes=tuple(p.original or s for p, s in zip(ours, sizes[part], strict=True)),
        )
    test_b = splits["testB"] if splits["testB"] else None
    return Dataset(folder.resolve().name, splits["train"], splits["test"], test_b, stain)


def _read_pairs(
    pool: ThreadPoolExecutor, pairs: Sequence[Pair], size: int | None, problems: list[Problem]
) -> tuple[UInt8[np.ndarray, "image height width 3"], Bool[np.ndarray, "image height width"], list[tuple[int, int]]]:
    """Returns images, masks and original sizes; what could not be read is left empty and added to the problems."""
    shape = (size or SIZE,) * 2
    if size is None and all(pair.image.parent == pair.mask.parent for pair in pairs):  # the first layout
        native = set(pool.map(read_size, [pair.image for pair in pairs])) - {None}
        if len(native) == 1 and (only := native.pop()) and not (only[0] % 2 or only[1] % 2):
            shape = only
    images, masks = np.zeros((len(pairs), *shape, 3), np.uint8), np.zeros((len(pairs), *shape), np.bool_)

    def read(index: int) -> tuple[tuple[int, int], list[Problem]]:
        pair, found, pixels = pairs[index], [], []
        for reader, file in ((read_image, pair.image), (read_mask, pair.mask)):
            try:
                pixels.append(reader(file, file))
            except Problem as problem:
                found.append(problem)
        if found:
            return (0, 0), found
        image, mask = pixels
        if mask.shape != image.shape[:2]:
            return (0, 0), [Problem(pair.mask, f"its image's size, {size_text(image)}", size_text(mask))]
        images[index], masks[index] = resize_image(image, shape), resize_mask(mask, shape)
        return (image.shape[0], image.shape[1]), []

    few = len(pairs) < CACHED_FROM
    read_ones = tqdm(pool.map(read, range(len(pairs))), "reading", len(pairs), unit="image", disable=few)
    sizes = []
    for original, found in read_ones:
        sizes.append(original)
        problems.extend(found)
    return images, masks, sizes


def _check_training(folder: Path, images: np.ndarray, masks: np.ndarray) -> list[Problem]:
    """Finds what makes training pointless although every single file is fine."""
    found = []
    if masks.all() or not masks.any():
        every = "only foreground" if masks.all() else "none"
        found.append(Problem(folder, "foreground and background in the training masks", every))
    if images.max(initial=0) < 16:
        expected = "training images that use 0..255"
        found.append(Problem(folder, expected, f"nothing above {images.max(initial=0)}"))
    return found
