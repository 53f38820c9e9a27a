"""Folders that could be read in two ways: refused with a reason, or read rightly, with what was decided said."""

import re
import unicodedata
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from scipy import ndimage
from test_public_sets import SIDE, disc, grey, numbered, parts, photo, save

from lib.data.reading import read_folder

COUNT = 8
ROWS = "".join(f"c{i};{'AB'[i % 2]};x\n" for i in range(COUNT))


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A good folder: images/ and masks/ of one name, each image with its own disc."""
    for i in range(COUNT):
        save(tmp_path / f"cells/images/c{i}.png", photo(i))
        save(tmp_path / f"cells/masks/c{i}.png", grey(disc(i)))
    return tmp_path / "cells"


def put(kind: str, change: Callable[[int], np.ndarray], suffix: str = ".png", count: int = COUNT, **options):
    """Puts others in the place of the first images or masks."""

    def replace(d: Path) -> None:
        for i in range(count):
            (d / f"{kind}/c{i}.png").unlink()
            save(d / f"{kind}/c{i}{suffix}", change(i), **options)

    return replace


masks, one_mask, images = partial(put, "masks"), partial(put, "masks", count=1), partial(put, "images")


def palette(white_first: bool, suffix: str) -> Callable[[Path], None]:
    """Indexed masks whose index 0 is the background, or, shown white, what a viewer would call foreground."""

    def replace(d: Path) -> None:
        for i in range(COUNT):
            picture = Image.fromarray(disc(i).astype(np.uint8), "L").convert("P")
            picture.putpalette([255, 255, 255, 0, 0, 0] if white_first else [0, 0, 0, 255, 0, 0])
            (d / f"masks/c{i}.png").unlink()
            picture.save(d / f"masks/c{i}{suffix}")

    return replace


def smooth(index: int) -> np.ndarray:
    """A mask with smooth edges, as a drawing program leaves them."""
    mask = grey(disc(index)).astype(float)
    return ((2 * mask + np.roll(mask, 1, 0) + np.roll(mask, -1, 1)) / 4).astype(np.uint8)


def beside(name: str, array: Callable[[int], np.ndarray] = lambda i: grey(disc(i))) -> Callable[[Path], None]:
    """Adds a file for each image, under a name with {} for its own."""

    def add(d: Path) -> None:
        for i in range(COUNT):
            save(d / name.format(f"c{i}"), array(i))

    return add


def table(name: str, content: str) -> Callable[[Path], None]:
    return lambda d: (d / name).write_text(content)  # type: ignore[return-value]


def moved(pattern: str, *targets: str) -> Callable[[Path], None]:
    """Moves files: {} is the file's stem; targets take turns."""

    def move(d: Path) -> None:
        for k, file in enumerate(sorted(d.glob(pattern))):
            target = d / targets[k % len(targets)].format(file.stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)

    return move


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    def change(d: Path) -> None:
        for one in changes:
            one(d)

    return change


def orientation(d: Path) -> None:
    for i in range(COUNT):
        exif = Image.Exif()
        exif[274] = 6
        (d / f"images/c{i}.png").unlink()
        Image.fromarray(np.rot90(photo(i))).save(d / f"images/c{i}.jpg", exif=exif, quality=95)


def profile(d: Path) -> None:
    from PIL import ImageCms

    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for i in range(COUNT):
        Image.fromarray(photo(i)).save(d / f"images/c{i}.png", icc_profile=icc)


def broken_exif(d: Path) -> None:
    for i in range(COUNT):
        Image.fromarray(photo(i)).save(d / f"images/c{i}.png", exif=b"Exif\0\0no such block")


def split_in(*names: str) -> Callable[[Path], None]:
    return both(*(moved(f"{kind}/*", *(f"{name}/{kind}/{{}}.png" for name in names)) for kind in ("images", "masks")))


def outline(i: int) -> np.ndarray:
    return disc(i) ^ ndimage.binary_erosion(disc(i))


def hot(i: int) -> np.ndarray:
    """Nearly empty 16 bits: one bright pixel in an image that ends at 30 of 256 of its range's levels."""
    image = (photo(i)[..., 0].astype(np.uint16)) * 16
    image[0, 0] = 65535
    return image


REFUSED, READ = "refused", "read"
# What is done to the good folder; whether it is refused or read; and what is said of it.
FOLDERS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    # Masks whose meaning might be turned round.
    "8-bit TIFF with white at 0": (
        masks(lambda i: 255 - grey(disc(i)), ".tif", photometric="miniswhite"), REFUSED, "0 shown as white"),
    "ImageJ's inverting table": (
        masks(lambda i: grey(disc(i)), ".tif", photometric="miniswhite"), REFUSED, "0 shown as white; FOREGROUND"),
    "1-bit TIFF with white at 0": (
        masks(lambda i: disc(i), ".tif", photometric="miniswhite"), REFUSED, "0 shown as white; FOREGROUND"),
    "indexed PNG, index 0 white": (palette(True, ".png"), REFUSED, "0 shown as white; FOREGROUND"),
    "indexed BMP, index 0 white": (palette(True, ".bmp"), REFUSED, "0 shown as white; FOREGROUND"),
    "indexed PNG, index 0 black": (palette(False, ".png"), READ, "8 of two values"),
    "inverted masks": (
        both(masks(lambda i: grey(~disc(i))), images(lambda i: photo(i, ~disc(i)))), READ, "are the masks inverted"),
    # Masks of more than two values.
    "JPEG masks": (masks(lambda i: grey(disc(i)), ".jpg", quality=90), READ, "8 of nearly two values"),
    "smooth edges": (masks(smooth), READ, "of the pixels were neither"),
    "smooth edges, most of the mask": (
        masks(lambda i: np.linspace(0, 255, SIDE).astype(np.uint8)[None].repeat(SIDE, 0)), REFUSED, "threshold"),
    "RGB of equal channels": (masks(lambda i: grey(disc(i))[..., None].repeat(3, 2)), READ, "8 of two values"),
    "RGBA": (masks(lambda i: np.dstack([grey(disc(i))] * 3 + [grey(disc(i) | True)])), READ, "8 of two values"),
    "black and one colour": (
        masks(lambda i: disc(i)[..., None] * np.uint8([250, 50, 83])), READ, "8 of two values"),
    "three colours": (
        masks(lambda i: disc(i)[..., None] * np.uint8([250, 50, 83]) + parts(i)[1][..., None] * np.uint8([0, 9, 0])),
        REFUSED, "0xfa3253.*; FOREGROUND=0xfa3253"),
    "a photograph as mask": (masks(photo), REFUSED, "colours"),
    "numbered objects": (
        both(masks(numbered), images(lambda i: photo(i, numbered(i) > 0))), READ, "of numbered objects"),
    "classes 0, 1, 2 in every mask": (
        masks(lambda i: disc(i) + np.uint8(2) * parts(i)[1]), REFUSED, "may be classes; FOREGROUND=1"),
    "classes 1 and 3 without 2": (
        masks(lambda i: disc(i) * np.uint8(1) + np.uint8(3) * parts(i)[1] * (i % 2 == 0)), REFUSED, "may be classes"),
    "another class in another image": (
        masks(lambda i: disc(i) * np.uint8(1 + i % 2)), REFUSED, "1, 2 in different masks; FOREGROUND=1"),
    "a trimap": (masks(lambda i: np.where(disc(i), 1, 2).astype(np.uint8)), REFUSED, "looks like a trimap; FOREGROUND"),
    "a trimap of black, grey, white": (
        masks(lambda i: np.where(np.roll(disc(i), 1, 0) ^ disc(i), 128, grey(disc(i))).astype(np.uint8)),
        REFUSED, "threshold"),
    "a trimap of black, grey, white in JPEG": (
        masks(lambda i: np.maximum(grey(disc(i)), grey(parts(i)[1]) // 2), ".jpg", quality=90), REFUSED, "threshold"),
    "a void border": (
        masks(lambda i: np.where(np.roll(disc(i), 1, 0) ^ disc(i), 255, disc(i)).astype(np.uint8)),
        REFUSED, "void border, which scores cannot leave out"),
    "a void border around two classes": (
        masks(lambda i: np.where(np.roll(disc(i), 1, 0) ^ disc(i), 255, disc(i) + 2 * parts(i)[1]).astype(np.uint8)),
        REFUSED, "void border"),
    "one mask of two classes": (
        one_mask(lambda i: disc(i) + np.uint8(2) * parts(i)[1]), REFUSED, "may be classes; FOREGROUND=1"),
    "masks of floats": (masks(lambda i: disc(i).astype(np.float32), ".tif"), REFUSED, "integers; save it as PNG"),
    # Which file is whose mask.
    "two folders of masks": (beside("labels/{}.png", lambda i: grey(parts(i)[1])), REFUSED, "masks/c0.png"),
    "a mask and another with a word": (beside("masks/{}_mask.png"), REFUSED, "one mask, or numbered parts"),
    "two observers": (
        both(moved("masks/*", "masks/{}_manual1.png"), beside("masks/{}_manual2.png")), REFUSED, "one mask, or"),
    "two observers' masks as parts": (
        both(moved("masks/*", "masks/{}_mask_1.png"), beside("masks/{}_mask_2.png")), REFUSED, "two observers"),
    "parts of a mask": (
        both(
            moved("masks/*", "masks/{}_mask_1.png"), beside("masks/{}_mask_2.png", lambda i: grey(parts(i)[1])),
            images(lambda i: photo(i, parts(i)[0] | parts(i)[1])),
        ), READ, "16 in masks"),
    "img_0 beside img_000": (moved("masks/*", "masks/{}00.png"), REFUSED, "is it c.*00.png"),
    "one image in two formats": (
        lambda d: save(d / "images/c0.jpg", photo(1)), REFUSED, "one picture called c0"),
    "a name in two spellings": (
        lambda d: [save(d / f"images/{unicodedata.normalize(f, 'é')}.png", photo(1)) for f in ("NFC", "NFD")],
        REFUSED, "one picture called é"),
    "overlays alone": (
        both(moved("images/*", "overlay/{}.png"), moved("masks/*", "overlay/m{}.png")),
        REFUSED, "pictures and their masks, found none but what is left out"),
    "overlays beside": (beside("overlay/{}.png", photo), READ, "left out: 8 files .png in overlay/"),
    "masks in the images' folder": (
        moved("masks/*", "images/{}_mask.png"), READ, "pairs: the image's name and a word"),
    "masks called label_ in the images' folder": (moved("masks/*", "images/label_{}.png"), READ, "pairs: "),
    "masks of another scene": (moved("masks/*", "masks/x{}.png"), REFUSED, "a mask of its name"),
    "masks for some, of another name": (
        both(moved("masks/*[0-5].png", "masks/d{}.png"), lambda d: [(d / f"masks/c{i}.png").unlink() for i in (6, 7)]),
        REFUSED, "a mask of its name"),
    "images without masks": (
        lambda d: (d / "masks/c0.png").unlink(), READ, "left out: images without masks: 1 in images/"),
    "an image that has lost its mask among both": (
        both(moved("masks/*", "images/{}_mask.png"), lambda d: (d / "images/c0_mask.png").unlink()),
        REFUSED, "images/c0.png: expected a mask of its name"),
    "other pictures of the same names": (
        beside("normalized/{}.png", photo), READ, "left out: images without masks: 8 in normalized/"),
    "left and right": (
        both(moved("masks/*", "masks/left/{}.png"), beside("masks/right/{}.png", lambda i: grey(parts(i)[1])),
             images(lambda i: photo(i, parts(i)[0] | parts(i)[1]))), READ, "16 in masks/left/, masks/right/"),
    "left, right and heart": (
        both(moved("masks/*", "masks/left/{}.png"), beside("masks/right/{}.png", lambda i: grey(parts(i)[1])),
             beside("masks/heart/{}.png")), REFUSED, "one mask, .* masks/heart/c0.png and masks/left"),
    "images in tif/ and masks in png/": (
        both(moved("masks/*", "png/{}_mask.png"), moved("images/*", "tif/{}.png")), READ, "images: 8 in tif/"),
    "one word behind all masks": (moved("masks/*", "masks/{}_L.png"), READ, "pairs: .* a word that all masks share"),
    "several words behind masks": (moved("masks/*", "masks/{}_L.png", "masks/{}_M.png"), REFUSED, "a mask of its name"),
    "annotations without masks": (
        both(lambda d: [path.unlink() for path in d.glob("masks/*")], table("coco.json", "{}")),
        REFUSED, "found 8 pictures of which none are called masks.*; .json files are perhaps outlines"),
    "outlines": (
        both(masks(lambda i: grey(outline(i))), images(lambda i: photo(i, outline(i)))), READ, "are they outlines"),
    "folders of classes": (
        both(*(moved(f"{k}/*", f"benign/{k}/{{}}.png", f"normal/{k}/{{}}.png") for k in ("images", "masks"))),
        READ, "groups: none known: benign, normal are taken for classes"),
    "numbers in one channel": (
        both(masks(lambda i: np.dstack([numbered(i).astype(np.uint8), *[numbered(i).astype(np.uint8) * 0] * 2])),
             images(lambda i: photo(i, numbered(i) > 0))), READ, "of numbered objects"),
    "one colour in one mask, another in another": (
        masks(lambda i: disc(i)[..., None] * np.uint8([(255, 0, 0), (0, 255, 0)][i % 2])),
        REFUSED, "0xff0000 in different masks; FOREGROUND=0x"),
    "red in one mask, blue in another": (
        masks(lambda i: disc(i)[..., None] * np.uint8([(255, 0, 0), (0, 0, 255)][i % 2])),
        REFUSED, "0x0000ff, 0xff0000 in different masks"),
    "foreground by alpha alone": (
        masks(lambda i: np.dstack([0 * grey(disc(i))] * 3 + [grey(disc(i))])), REFUSED, "alpha and colours that"),
    "white that alpha hides": (
        masks(lambda i: np.dstack([grey(~disc(i))] * 3 + [grey(disc(i))])), REFUSED, "alpha and colours that differ"),
    "alpha where it is foreground": (masks(lambda i: np.dstack([grey(disc(i))] * 4)), READ, "8 of two values"),
    "thirty colours": (
        masks(lambda i: disc(i)[..., None] * np.uint8([250, 50, 0]) + np.uint8([[[0, 0, y % 30]] for y in range(40)])),
        REFUSED, ", ...; FOREGROUND=0xfa32"),
    # Splits and what lies beside them.
    "val beside train and test": (split_in("train", "val", "test"), READ, "validation images joined to the training"),
    "val beside train": (split_in("train", "val"), READ, "splits: validation images are the test images"),
    "all in one folder that is called after a test": (
        both(moved("masks/*", "polyps test/masks/{}.png"), moved("images/*", "polyps test/images/{}.png")),
        READ, "divided here"),
    "test masks in a folder of another name": (
        both(split_in("train", "test"), lambda d: (d / "test/masks").rename(d / "test/msk")),
        REFUSED, "test/msk/c1.png: expected a mask of its name"),
    "train and test, of which one has no masks": (
        both(split_in("train", "test"), lambda d: [path.unlink() for path in d.glob("test/masks/*")]),
        READ, "left out: images without masks: 4 in test/images/"),
    "images beside train and test": (
        both(split_in("train", "test"), lambda d: save(d / "images/x.png", photo(1))), READ,
        "left out: images/x.png, in no split"),
    "train and a misspelt test": (split_in("train", "tets"), REFUSED, "test: expected a folder of images and masks"),
    "test alone": (split_in("test"), REFUSED, "train: expected a folder of images and masks"),
    "train alone": (split_in("train"), REFUSED, "test: expected a folder of images and masks"),
    "holdout images in no split": (
        both(split_in("train", "test"), lambda d: save(d / "holdout/images/x.png", photo(1))), READ, "in no split"),
    # Tables.
    "semicolons and extra columns": (table("groups.csv", "name;group;more\n" + ROWS), READ, "groups: 2 in groups.csv"),
    "Groups.csv": (table("Groups.csv", "name;group;more\n" + ROWS), READ, "groups: 2 in Groups.csv"),
    "tabs and suffixes": (
        table("groups.csv", "name;group;more\n".replace(";", "\t") + ROWS.replace(";", ".png\t", 0).replace(";", "\t")),
        READ, "groups: 2 in"),
    "groups.csv.csv": (table("groups.csv.csv", "name;group\n"), REFUSED, "groups.csv.csv: expected one table"),
    "groups.txt": (table("groups.txt", "name;group\n"), REFUSED, "groups.txt: expected one table"),
    "images.txt": (table("images.txt", "1 c1.png"), READ, "left out: images.txt"),
    "folders of patients who have a disease": (
        both(*(moved(f"{k}/*", *(f"cancer_{n}/{k}/{{}}.png" for n in (1, 2, 3))) for k in ("images", "masks"))),
        READ, "groups: 3 folders"),
    "two tables": (
        both(table("groups.csv", "name;group;more\n" + ROWS), table("images.csv", "name,split,patient\n")),
        REFUSED, "images.csv: expected one table"),
    "a table of nothing but a mark of its encoding": (
        table("groups.csv", "\ufeff"), REFUSED, "groups.csv: expected the columns name, group, once each, found none"),
    "GlaS's table beside another": (
        both(table("groups.csv", "name;group;more\n" + ROWS), table("Grade.csv", "name,patient ID\n")),
        READ, "left out: Grade.csv"),
    "a table of another name": (table("patients.csv", "name;group\n"), READ, "left out: patients.csv"),
    "names that look like patients": (
        both(*(moved(f"{k}/*", *(f"{k}/p{n:02d}_{{}}.png" for n in range(3))) for k in ("images", "masks"))),
        READ, "names look like patients .* write groups.csv"),
    # Pixels of images.
    "four channels, or alpha": (
        images(lambda i: np.dstack([photo(i), photo(i)[..., 0]])), READ, "a channel beyond three, ignored: 8 images"),
    "pictures on their side": (orientation, READ, "EXIF orientation applied: 8 images"),
    "colour profiles": (profile, READ, "colour profile ignored: 8 images"),
    "a broken EXIF block": (broken_exif, READ, "8 of two values"),
    "12 bits in 16": (
        images(lambda i: photo(i).astype(np.uint16)[..., 0] * 16), READ, "8 images, of which 12 bits are used"),
    "16 bits but for a hot pixel nearly empty": (images(hot), REFUSED, "scale them up"),
    "RGB of 16 bits, nearly empty": (
        images(lambda i: photo(i).astype(np.uint16), ".tif", photometric="rgb"), READ, "of which 8 bits are used"),
    "grey TIFF with white at 0": (
        images(lambda i: 255 - photo(i)[..., 0], ".tif", photometric="miniswhite"), READ, "8 of two values"),
    "volumes": (
        images(lambda i: np.stack([photo(i)[..., 0]] * 2), ".tif", photometric="minisblack"),
        REFUSED, "save each plane as a file of its own"),
    "what cannot be read beside": (
        lambda d: (d / "images/slide.svs").write_bytes(b"x"), READ, "left out: images/slide.svs"),
    "what systems leave": (
        lambda d: [(d / n).write_bytes(b"x") for n in ("Thumbs.db", "ehthumbs.db", ".DS_Store", "images/._c0.png")],
        READ, "8 of two values"),
}  # fmt: skip


def test_a_colour_that_is_said_to_be_foreground_is_read(cells: Path):
    FOLDERS["three colours"][0](cells)
    _, dataset, problems = read_folder(cells, 40, foreground=(0xFA3253,))
    assert dataset is not None, problems
    assert dataset.train.masks.sum() + dataset.test.masks.sum() == sum(disc(i).sum() for i in range(COUNT))


@pytest.mark.parametrize("name", FOLDERS)
def test_nothing_is_read_with_another_meaning_in_silence(name, cells: Path):
    change, expected, said = FOLDERS[name]
    change(cells)
    _, dataset, problems = read_folder(cells, 40)
    if expected == REFUSED:
        assert dataset is None
        assert any(re.search(said, str(problem)) for problem in problems), problems
        return
    assert dataset is not None, problems
    assert any(re.search(said, note) for note in dataset.notes), dataset.notes
    for split in dataset.splits.values():
        for image, mask in zip(split.images, split.masks, strict=True):
            assert ((image.mean(axis=2) > 120) ^ mask).mean() < 0.03  # a smooth edge, or JPEG's, is a pixel


def test_there_are_forty_of_them():
    assert len(FOLDERS) >= 40
    assert tifffile  # the readers of TIFF masks
