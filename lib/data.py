"""Reading and checking a dataset: every wrong file is met here, named, before anything is computed."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from PIL import Image, UnidentifiedImageError

from lib.synthetic import draw_dataset

ROOT = Path(__file__).resolve().parent.parent  # of the project; relative dataset folders start here
SYNTHETIC = "synthetic"
EIGHT_BIT_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA"}  # others would be clipped to 255 silently

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif"}


class UserError(ValueError):
    """A mistake in what the user gave: one line with the file or parameter, what was expected, what was found."""


class FailedRun(RuntimeError):  # noqa: N818 - a report or a training that did not end well, not a mistake
    """A computation that did not run to its end: which one, where, and why."""


@dataclass(frozen=True)
class Split:
    """Images with their masks, in the order of their names.

    Attributes:
        names: one per image, such as "image_07".
        images: RGB, uint8 in 0..255. masks: True in the foreground.
        patients: whose tissue each image shows, or None where that is not known.
    """

    names: tuple[str, ...]
    images: UInt8[np.ndarray, "image height width 3"]
    masks: Bool[np.ndarray, "image height width"]
    patients: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def pair(self, name: str) -> tuple[UInt8[np.ndarray, "height width 3"], Bool[np.ndarray, "height width"]]:
        """Returns one image and its mask."""
        index = self.names.index(name)
        return self.images[index], self.masks[index]

    @property
    def foreground_fraction(self) -> float:
        """Share of foreground among all pixels of the split, in [0, 1]."""
        return float(self.masks.mean())


@dataclass(frozen=True)
class Dataset:
    """A training and a test split of images of one size, and the name they go by."""

    name: str
    train: Split
    test: Split

    @property
    def splits(self) -> dict[str, Split]:
        """Both splits by name."""
        return {"train": self.train, "test": self.test}

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        height, width = self.train.masks.shape[1:]
        return int(height), int(width)

    def summary(self) -> pd.DataFrame:
        """Returns a table of both splits: number and size of images, and the share of foreground from least to most."""
        height, width = self.image_size
        rows = {}
        for name, split in self.splits.items():
            low, mean, high = (f"{f(split.masks.mean(axis=(1, 2))):.2f}" for f in (np.min, np.mean, np.max))
            rows[name] = {
                "images": len(split),
                "size": f"{width}x{height}",
                "foreground": mean,
                "from": low,
                "to": high,
            }
        return pd.DataFrame(rows).T

    @cached_property
    def sha256(self) -> str:
        """Hash of names, images and masks: two datasets with one hash train the same networks."""
        digest = hashlib.sha256()
        for split in self.splits.values():
            digest.update(repr((split.names, split.images.shape)).encode())
            digest.update(np.ascontiguousarray(split.images).tobytes())
            digest.update(np.packbits(split.masks).tobytes())
        return digest.hexdigest()


def load_dataset(source: str) -> Dataset:
    """Draws the embedded set or reads a folder.

    Args:
        source: "synthetic", or a folder with Train/ and Test/ (relative ones are looked up from the project's
            folder), each with pairs image_NN.png (any mode Pillow converts to RGB, 8 bit) and label_NN.png
            (one channel, two values, the lower of which is 0), all of one size with even height and width.

    Raises:
        UserError: naming the first file or folder that is not as expected.
    """
    if source == SYNTHETIC:
        train, test = (
            Split(tuple(f"image_{i:02d}" for i, _ in enumerate(images, start=1)), images, masks, tuple(patients))
            for images, masks, patients in draw_dataset()
        )
        return Dataset(SYNTHETIC, train, test)
    folder = ROOT / Path(source).expanduser()
    if not folder.is_dir():
        raise UserError(f"DATASET={source}: expected 'synthetic' or a folder with Train and Test, found no such folder")
    train, test = _read_split(folder / "Train"), _read_split(folder / "Test")
    if train.masks.shape[1:] != test.masks.shape[1:]:
        raise UserError(
            f"{folder / 'Test'}: expected images of the training images' size, {_size(train.masks[0])}, "
            f"found {_size(test.masks[0])}"
        )
    return Dataset(folder.resolve().name, train, test)


def _size(pixels: np.ndarray) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]} pixels"


def _read_split(folder: Path) -> Split:
    """Reads the pairs of one folder; raises UserError at the first file that is not as `load_dataset` says."""
    if not folder.is_dir():
        raise UserError(f"{folder}: expected a folder with image_NN.png and label_NN.png, found none")
    images, labels = (
        {path.stem.removeprefix(prefix): path for path in sorted(folder.glob(f"{prefix}*.png"))}
        for prefix in ("image_", "label_")
    )
    known = {*images.values(), *labels.values()}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURES and path not in known:
            raise UserError(f"{path}: expected a name like image_NN.png or label_NN.png, found another")
    if not images and not labels:
        raise UserError(f"{folder}: expected at least one pair image_NN.png and label_NN.png, found none")
    for number in sorted(images.keys() - labels.keys()):
        raise UserError(f"{images[number]}: expected a mask label_{number}.png beside it, found none")
    for number in sorted(labels.keys() - images.keys()):
        raise UserError(f"{labels[number]}: expected an image image_{number}.png beside it, found none")

    pairs = {number: (_read_pixels(images[number], "RGB"), _read_mask(labels[number])) for number in images}
    first = next(iter(pairs.values()))[0]
    for number, (image, mask) in pairs.items():
        if mask.shape != image.shape[:2]:
            raise UserError(f"{labels[number]}: expected its image's size, {_size(image)}, found {_size(mask)}")
        if image.shape != first.shape:
            raise UserError(f"{images[number]}: expected the first image's size, {_size(first)}, found {_size(image)}")
        if image.shape[0] % 2 or image.shape[1] % 2:
            raise UserError(f"{images[number]}: expected even height and width, found {_size(image)}")
    return Split(
        names=tuple(images[number].stem for number in pairs),
        images=np.stack([image for image, _ in pairs.values()]),
        masks=np.stack([mask for _, mask in pairs.values()]),
    )


def _read_pixels(path: Path, mode: str | None) -> np.ndarray:
    """Returns a file's pixels, converted to a Pillow mode if one is given."""
    try:
        with Image.open(path) as image:
            if image.mode not in EIGHT_BIT_MODES:
                raise UserError(f"{path}: expected 8 bits a channel, found Pillow's mode {image.mode}")
            return np.asarray(image.convert(mode) if mode else image)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: expected a readable image, found no format that Pillow knows") from error
    # What else Pillow raises for damaged files, by format and by damage.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: expected a readable image, found: {error}") from error


def _read_mask(path: Path) -> Bool[np.ndarray, "height width"]:
    values = _read_pixels(path, None)
    if values.ndim != 2:
        raise UserError(f"{path}: expected a mask of one channel, found {values.shape[2]}")
    levels = np.unique(values)
    if len(levels) > 2 or (len(levels) == 2 and levels[0] != 0):
        shown = ", ".join(str(int(level)) for level in levels[:4]) + (", ..." if len(levels) > 4 else "")
        raise UserError(f"{path}: expected a mask of two values, 0 and another, found {len(levels)}: {shown}")
    return values != 0
