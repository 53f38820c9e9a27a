from pathlib import Path

import numpy as np
import pytest
from conftest import write_dataset
from PIL import Image

from lib.data import Dataset, UserError, load_dataset


def test_folder_is_read_as_it_was_written(folder: Path, discs: Dataset):
    read = load_dataset(str(folder))
    assert read.name == "discs"
    assert read.sha256 == discs.sha256
    assert read.train.masks.dtype == bool
    np.testing.assert_array_equal(read.test.images, discs.test.images)


def test_hash_changes_with_a_single_pixel(discs: Dataset):
    before = discs.sha256
    images = discs.test.images.copy()
    images[0, 0, 0, 0] ^= 1
    changed = Dataset("discs", discs.train, type(discs.test)(discs.test.names, images, discs.test.masks))
    assert changed.sha256 != before


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA"])
def test_images_of_other_8_bit_modes_become_rgb(mode, folder: Path):
    path = folder / "Train" / "image_00.png"
    Image.open(path).convert(mode).save(path)
    expected = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_array_equal(load_dataset(str(folder)).train.images[0], expected)


@pytest.mark.parametrize("foreground", [1, 7, 255])
def test_masks_of_zero_and_any_other_value_are_read(foreground, folder: Path, discs: Dataset):
    mask = discs.train.masks[0].astype(np.uint8) * foreground
    Image.fromarray(mask).save(folder / "Train" / "label_00.png")
    np.testing.assert_array_equal(load_dataset(str(folder)).train.masks[0], discs.train.masks[0])


@pytest.mark.parametrize("value", [0, 255])
def test_masks_without_foreground_or_without_background_are_read(value, folder: Path):
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(folder / "Train" / "label_00.png")
    assert load_dataset(str(folder)).train.masks[0].mean() == (value > 0)


def pixels(folder: Path, name: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(folder / name)


grey = np.zeros((16, 16), np.uint8)
BROKEN = {
    "no Test folder": (lambda d: (d / "Test").rename(d / "Tets"), r"Test: expected a folder .* found none"),
    "no image in a split": (
        lambda d: [path.unlink() for path in (d / "Test").iterdir()],
        r"Test: expected at least one pair image_NN.png and label_NN.png, found none",
    ),
    "image without mask": (
        lambda d: (d / "Train/label_03.png").unlink(),
        r"image_03.png: expected a mask label_03.png beside it, found none",
    ),
    "mask without image": (
        lambda d: (d / "Train/image_03.png").unlink(),
        r"label_03.png: expected an image image_03.png beside it, found none",
    ),
    "mask of another size": (
        lambda d: pixels(d, "Train/label_02.png", grey[:14]),
        r"label_02.png: expected its image's size, 16x16 pixels, found 16x14 pixels",
    ),
    "image of another size": (
        lambda d: (
            pixels(d, "Test/image_02.png", np.zeros((20, 16, 3), np.uint8)),
            pixels(d, "Test/label_02.png", np.zeros((20, 16), np.uint8)),
        ),
        r"image_02.png: expected the first image's size, 16x16 pixels, found 16x20 pixels",
    ),
    "mask of three values": (
        lambda d: pixels(d, "Train/label_05.png", np.tile(np.array([0, 100, 200, 0], np.uint8), (16, 4))),
        r"label_05.png: expected a mask of two values, 0 and another, found 3: 0, 100, 200",
    ),
    "mask of two values without 0": (
        lambda d: pixels(d, "Train/label_05.png", np.tile(np.array([1, 2], np.uint8), (16, 8))),
        r"label_05.png: expected a mask of two values, 0 and another, found 2: 1, 2",
    ),
    "mask in colour": (
        lambda d: pixels(d, "Train/label_05.png", np.zeros((16, 16, 3), np.uint8)),
        r"label_05.png: expected a mask of one channel, found 3",
    ),
    "text instead of an image": (
        lambda d: (d / "Train/image_01.png").write_text("not an image"),
        r"image_01.png: expected a readable image, found no format that Pillow knows",
    ),
    "truncated image": (
        lambda d: (d / "Train/image_01.png").write_bytes((d / "Train/image_01.png").read_bytes()[:200]),
        r"image_01.png: expected a readable image, found: ",
    ),
    "empty file": (
        lambda d: (d / "Train/image_01.png").write_bytes(b""),
        r"image_01.png: expected a readable image, found no format that Pillow knows",
    ),
    "a pair of another format": (
        lambda d: (d / "Train/image_09.jpg").write_bytes(b""),
        r"image_09.jpg: expected a name like image_NN.png or label_NN.png, found another",
    ),
    "a name in capitals": (
        lambda d: (d / "Train/image_09.png").rename(d / "Train/image_09.PNG"),
        r"image_09.PNG: expected a name like image_NN.png or label_NN.png, found another",
    ),
    "16 bit image": (
        lambda d: pixels(d, "Train/image_01.png", np.zeros((16, 16), np.uint16)),
        r"image_01.png: expected 8 bits a channel, found Pillow's mode I;16",
    ),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_broken_folder_is_refused_in_one_line_that_names_the_file(damage, folder: Path):
    break_it, message = BROKEN[damage]
    break_it(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(str(folder))
    assert "\n" not in str(caught.value)


def test_odd_sizes_are_refused_since_pooling_halves_them(discs: Dataset, tmp_path: Path):
    splits = [
        type(split)(split.names, split.images[:, :15], split.masks[:, :15]) for split in (discs.train, discs.test)
    ]
    folder = write_dataset(Dataset("odd", *splits), tmp_path / "odd")
    with pytest.raises(UserError, match=r"image_00.png: expected even height and width, found 16x15 pixels"):
        load_dataset(str(folder))


def test_missing_folder_is_refused():
    with pytest.raises(UserError, match=r"DATASET=/no/such: expected 'synthetic' or a folder .* found no such folder"):
        load_dataset("/no/such")
