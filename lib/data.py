"""Datasets: what they are, loading them, and what is to be known of them before anything is computed."""

import hashlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float64, Int64, UInt8
from sklearn.model_selection import GroupKFold
from tqdm import tqdm

from lib import cache
from lib.folders import Pair, find_pairs
from lib.images import Problem, read_image, read_mask, read_size, reason, resize_image, resize_mask, size_text
from lib.images import UserError as UserError  # part of this module's interface
from lib.stain import stain_range, unmix
from lib.synthetic import draw_dataset

ROOT: Path = Path(__file__).resolve().parent.parent  # of the project; relative dataset folders start here
SYNTHETIC = "synthetic"
SIZE = 128  # pixels, the study's
STAINS = ("rgb", "unmixed")
CACHED_FROM = 500  # images; fewer are read in a second


class FailedRun(RuntimeError):  # noqa: N818 - a report or a training that did not end well, not a mistake
    """A computation that did not run to its end: which one, where, and why."""


@dataclass(frozen=True)
class Split:
    """Images with their masks, in the order of their names.

    Attributes:
        names: one per image, such as "image_07".
        images: RGB, uint8 in 0..255. masks: True in the foreground.
        patients: of whom each image is (or of which other group), or None where that is not known.
        original_sizes: height and width of each image before it was resized, None for drawn images.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "image height width 3"]
    masks: Bool[np.ndarray, "image height width"]
    patients: tuple[str, ...] | None = None
    original_sizes: tuple[tuple[int, int], ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def pair(self, name: str) -> tuple[UInt8[np.ndarray, "height width 3"], Bool[np.ndarray, "height width"]]:
        """Returns one image and its mask."""
        index = self.names.index(name)
        return self.images[index], self.masks[index]

    def part(self, index: Int64[np.ndarray, " chosen"]) -> "Split":
        """Returns some of the images."""
        names = tuple(self.names[i] for i in index)
        patients = self.patients and tuple(self.patients[i] for i in index)
        sizes = self.original_sizes and tuple(self.original_sizes[i] for i in index)
        return Split(names, self.images[index], self.masks[index], patients, sizes)

    @property
    def coloured(self) -> Bool[np.ndarray, " image"]:
        """Whether each image has any colour, and is not grey all over."""
        return np.array([bool(np.ptp(image, axis=2).any()) for image in self.images])

    @property
    def foreground(self) -> Float64[np.ndarray, " image"]:
        """Share of foreground of each image, in [0, 1]."""
        return self.masks.mean(axis=(1, 2))

    @property
    def foreground_fraction(self) -> float:
        """Share of foreground among all pixels of the split, in [0, 1]."""
        return float(self.masks.mean())


@dataclass(frozen=True)
class Dataset:
    """A training and a test split of images of one size, a second test split where there is one, and their name.

    Their channels are colours where `stain` is "rgb", or stains.
    """

    name: str
    train: Split
    test: Split
    test_b: Split | None = None
    stain: str = "rgb"

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: "train", "test" and, where it is there, "testB"."""
        return {"train": self.train, "test": self.test} | ({"testB": self.test_b} if self.test_b else {})

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        height, width = self.train.masks.shape[1:]
        return int(height), int(width)

    def summary(self) -> pd.DataFrame:
        """Returns a table of the splits: number and size of images, and the share of foreground from least to most."""
        height, width = self.image_size
        rows = {}
        for name, split in self.splits.items():
            low, mean, high = (f"{f(split.foreground):.2f}" for f in (np.min, np.mean, np.max))
            rows[name] = {
                "images": len(split),
                "size": f"{width}x{height}",
                "foreground": mean,
                "from": low,
                "to": high,
            }
        return pd.DataFrame(rows).T

    @cached_property
    def fold_hashes(self) -> dict["Fold", str]:
        """Hashes of the folds that were asked for so far: dividing and hashing takes a tenth of a second each."""
        return {}

    @cached_property
    def sha256(self) -> str:
        """Hash of names, images and masks: two datasets with one hash train the same networks."""
        digest = hashlib.sha256()
        for split in self.splits.values():
            digest.update(repr((split.names, split.images.shape)).encode())
            digest.update(np.ascontiguousarray(split.images).data)
            digest.update(np.packbits(split.masks).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Fold:
    """One fold of a cross-validation in which no patient is in two folds.

    Attributes:
        images: "train" divides the training split alone, "all" all splits together.
        index: of the fold that is held out, from 0. of: number of folds, fewer where there are fewer patients.
    """

    images: Literal["train", "all"]
    index: int
    of: int = 5

    def _parts(self, dataset: Dataset) -> dict[str, Split]:
        """Returns the splits that take part, by name."""
        return {"train": dataset.train} if self.images == "train" else dataset.splits

    def _groups(self, dataset: Dataset) -> tuple[list[str], tuple[str, ...] | None, np.ndarray]:
        """Returns names and patients of the images, and a number for each one's patient, its own if none is known."""
        parts = self._parts(dataset)
        names = [
            name if self.images == "train" else f"{which} {name}" for which, of in parts.items() for name in of.names
        ]
        known = all(split.patients is not None for split in parts.values())
        patients = tuple(who for split in parts.values() for who in split.patients or ()) if known else None
        return names, patients, np.unique(patients or names, return_inverse=True)[1]

    def count(self, dataset: Dataset) -> int:
        """Returns how many folds there are: fewer than `of` where there are fewer patients, none where there is one."""
        patients = int(self._groups(dataset)[2].max()) + 1
        return min(self.of, patients) if patients > 1 else 0

    def of_dataset(self, dataset: Dataset) -> Dataset:
        """Returns the dataset that trains on all other folds and is tested on this one.

        Where patients are not known, each image counts as one of its own. In folds of all splits an image is called
        by its split and name, since two splits may share names.

        Raises:
            UserError: there are fewer folds.
        """
        names, patients, groups = self._groups(dataset)
        if self.index >= (count := self.count(dataset)):
            raise UserError(f"fold {self.index + 1}: expected that many patients, found {count} in {dataset.name}")
        train, test = list(GroupKFold(count).split(names, groups=groups))[self.index]
        parts = self._parts(dataset).values()
        images, masks = (np.concatenate([getattr(split, kind) for split in parts]) for kind in ("images", "masks"))
        joined = Split(tuple(names), images, masks, patients)
        return Dataset(dataset.name, joined.part(train), joined.part(test), stain=dataset.stain)


def duplicates(dataset: Dataset) -> list[list[tuple[str, str]]]:
    """Returns the images that are equal pixel by pixel, each as (split, name), equal ones in one list."""
    found: dict[bytes, list[tuple[str, str]]] = {}
    for which, split in dataset.splits.items():
        for name, image in zip(split.names, split.images, strict=True):
            found.setdefault(hashlib.sha256(np.ascontiguousarray(image).data).digest(), []).append((which, name))
    return [same for same in found.values() if len(same) > 1]


def shared_patients(dataset: Dataset) -> dict[tuple[str, str], list[str]] | None:
    """Returns which patients each two splits share, None where the patients of a split are not known."""
    known = {which: set(split.patients) for which, split in dataset.splits.items() if split.patients is not None}
    if len(known) < len(dataset.splits):
        return None
    return {(one, other): sorted(known[one] & known[other]) for one, other in combinations(known, 2)}


def load_dataset(source: str, *, size: int | None = None, stain: str = "rgb", test_fraction: float = 0.4) -> Dataset:
    """Draws the embedded set or reads a folder.

    A folder (relative ones are looked up from the project's) holds one of:

    - Train/ and Test/, and TestB/ if wanted, each with pairs image_NN.png and label_NN.png; patients in images.csv
      (name, split, patient; one row an image, split is train, test or testB) if known. Images that all have one size
      with even height and width stay as they are, unless `size` is given. The Warwick-QU images' own Grade.csv
      (name, patient ID) is understood as well.
    - train/ and test/ (and testb/), each with images/ and masks/ that hold files of the same stem, patients as before.
    - images/ and masks/ alone: divided here, whole groups together where groups.csv (name, group) tells them.

    Pictures are PNG, JPEG, TIFF or BMP of 8 or 16 bits; `lib.images` says how grey, palette, alpha and 16 bits become
    RGB. Masks have one channel and two values, the lower of which is 0; single masks may be all background or all
    foreground, those of the training split together may not.

    Args:
        source: "synthetic", or the folder.
        size: side in pixels of the squares that images are resized to, even, 32 to 1024; None is 128. Images are
            averaged over areas, masks decided by majority; proportions are not kept. The embedded set is drawn larger.
        stain: "rgb", or "unmixed" for haematoxylin, eosin and the rest as channels (see `lib.stain.unmix`), scaled
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


if __name__ == "__main__":
    from lib.importing import main

    sys.exit(main(sys.argv[1:]))
