"""Datasets: what they are, and what is to be known of them before anything is computed."""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from lib._errors import UserError

SYNTHETIC = "synthetic"
SIZE = 128  # pixels, the study's
SIDES = range(16, 1025, 2)  # pixels: the networks halve sides, the deepest one four times
STAINS = ("rgb", "unmixed")


def check_size(size: int | str) -> int:
    """Returns a size in pixels as a number; raises UserError unless it is one of SIDES."""
    if re.fullmatch("[0-9]{1,4}", str(size)) and int(size) in SIDES:
        return int(size)
    raise UserError(f"SIZE={size}: expected an even number from {SIDES[0]} to {SIDES[-1]}, found {str(size)!r}")


@dataclass(frozen=True)
class Split:
    """Images with their masks, in the order of their names.

    Attributes:
        names: one per image, such as "image_07".
        images: RGB, uint8 in 0..255. masks: True in the foreground.
        patients: of whom each image is (or of which other group), or None where that is not known.
        original_sizes: height and width of each image before it was resized, None for drawn images.
        grades: such as "benign", or None where that of an image is not known.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "image height width 3"]
    masks: Bool[np.ndarray, "image height width"]
    patients: tuple[str, ...] | None = None
    original_sizes: tuple[tuple[int, int], ...] | None = None
    grades: tuple[str, ...] | None = None

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
        grades = self.grades and tuple(self.grades[i] for i in index)
        return Split(names, self.images[index], self.masks[index], patients, sizes, grades)

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

    Their channels are colours where `stain` is "rgb", or stains. `key` is what the cache calls them, before stains;
    `notes` tell what was decided in reading them, each as "subject: text".
    """

    name: str
    train: Split
    test: Split
    test_b: Split | None = None
    stain: str = "rgb"
    key: str = ""
    notes: tuple[str, ...] = ()

    @property
    def splits(self) -> dict[str, Split]:
        """The splits by name: "train", "test" and, where it is there, "testB"."""
        return {"train": self.train, "test": self.test} | ({"testB": self.test_b} if self.test_b else {})

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        height, width = self.train.masks.shape[1:]
        return int(height), int(width)

    def summary(self) -> Any:
        """Returns a DataFrame of the splits: number and size of images, share of foreground from least to most."""
        import pandas as pd  # half a second and 50 MB, which workers need not spend

        height, width = self.image_size
        rows = {}
        for name, split in self.splits.items():
            low, mean, high = (f"{f(split.foreground):.2f}" for f in (np.min, np.mean, np.max))
            rows[name] = (len(split), f"{width}x{height}", mean, low, high)
        table = pd.DataFrame(rows, index=["images", "size", "foreground", "from", "to"]).T
        images = " and ".join(f"{len(split)} in the {name} set" for name, split in self.splits.items())
        table.attrs["caption"] = (
            f"Images: {images}. Foreground: its mean share of an image, and the lowest and highest."
        )
        return table

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
        repeat: of the division, from 0: each is another random one.
    """

    images: Literal["train", "all"]
    index: int
    of: int = 5
    repeat: int = 0

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

    def divide(self, dataset: Dataset) -> dict[str, Int64[np.ndarray, " image"]]:
        """Returns which images are trained on ("train") and held out ("test"), as positions in `names`.

        Where patients are not known, each image counts as one of its own.

        Raises:
            UserError: there are fewer folds.
        """
        from sklearn.model_selection import GroupKFold  # two seconds and 60 MB, which few processes need to spend

        names, _, groups = self._groups(dataset)
        if self.index >= (count := self.count(dataset)):
            raise UserError(f"fold {self.index + 1}: expected that many patients, found {count} in {dataset.name}")
        folds = GroupKFold(count, shuffle=True, random_state=self.repeat).split(names, groups=groups)
        return dict(zip(("train", "test"), list(folds)[self.index], strict=True))

    def names(self, dataset: Dataset) -> list[str]:
        """Returns what the images are called: by split and name in folds of all, since two splits may share names."""
        return self._groups(dataset)[0]

    def patients(self, dataset: Dataset) -> dict[str, str] | None:
        """Returns the patient of each of `names`, None where not all are known."""
        names, patients, _ = self._groups(dataset)
        return None if patients is None else dict(zip(names, patients, strict=True))

    def of_dataset(self, dataset: Dataset) -> Dataset:
        """Returns the dataset that trains on all other folds and is tested on this one, as `divide` has it."""
        names, patients, _ = self._groups(dataset)
        train, test = self.divide(dataset).values()
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
