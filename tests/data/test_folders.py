"""What is read of a folder of images, and each thing that can be wrong with it by its literal message."""

import os
import re
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import write_dataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from lib._errors import Problem, UserError
from lib.data.dataset import Dataset
from lib.data.folders import choose_test, read_table
from lib.data.images import read_image, read_mask, resize_image, resize_mask
from lib.data.reading import load_dataset, read_folder

GREY = np.full((16, 16), 90, np.uint8)
COLOUR = np.full((16, 16, 3), 90, np.uint8)
MASK = np.repeat(np.array([0, 255], np.uint8), 8)[:, None].repeat(16, 1)


def save(path: Path, array: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Train and test, each with images/ and masks/."""
    folder = tmp_path / "own"
    for split, names in (("train", "ab"), ("test", "cd")):
        for index, name in enumerate(names):
            save(folder / split / "images" / f"{name}.png", COLOUR + np.uint8(index))
            save(folder / split / "masks" / f"{name}.png", MASK)
    return folder


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ten pairs that nothing divides."""
    for index in range(10):
        save(tmp_path / "flat" / "images" / f"{index}.png", COLOUR + np.uint8(index))
        save(tmp_path / "flat" / "masks" / f"{index}.png", MASK)
    return tmp_path / "flat"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


def cut(path: Path, fraction: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])


def as_format(folder: Path, suffix: str, array: np.ndarray = COLOUR, **options) -> Path:
    """Puts another file in the place of train/images/a.png."""
    (folder / "train/images/a.png").unlink()
    save(folder / f"train/images/a{suffix}", array, **options)
    return folder / f"train/images/a{suffix}"


def as_tiff(folder: Path, array: np.ndarray, **options) -> None:
    (folder / "train/images/a.png").unlink()
    tifffile.imwrite(folder / "train/images/a.tif", array, **options)


def huge_tiff(folder: Path) -> None:
    as_tiff(folder, np.zeros((16, 16, 3), np.float32), photometric="rgb")
    with tifffile.TiffFile(folder / "train/images/a.tif", mode="r+") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            tiff.pages.first.tags[tag].overwrite(60_000)


def noise(folder: Path, suffix: str) -> Path:
    return as_format(folder, suffix, np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


def noise_as_mask(folder: Path) -> None:
    """Saves as JPEG a mask of two values, which has more of them then."""
    noisy = np.random.default_rng(0).integers(0, 2, (16, 16), np.uint8) * np.uint8(255)
    save(replaced(folder / MASK_A).with_suffix(".jpg"), noisy)


def remove(path: Path) -> None:
    for inner in sorted(path.rglob("*"), reverse=True):
        inner.rmdir() if inner.is_dir() else inner.unlink()
    path.rmdir() if path.is_dir() else path.unlink()


def replaced(path: Path) -> Path:
    path.unlink()
    return path


def rows(folder: Path, content: str | bytes, name: str = "images.csv") -> None:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def masks_of(folder: Path, value: int) -> None:
    for path in folder.glob("train/masks/*"):
        save(path, np.full((16, 16), value, np.uint8))


def all_of(folder: Path, array: np.ndarray) -> None:
    for path in folder.glob("t*/images/*"):
        save(path, array)


def twice(folder: Path) -> None:
    """One name in two spellings of its accent, as files from two systems have it."""
    for form in ("NFC", "NFD"):
        save(folder / "train/images" / f"{unicodedata.normalize(form, 'é')}.png", COLOUR)
    save(folder / "train/masks/é.png", MASK)


READABLE, IMAGE, MASK_A = "a readable image", "train/images/a.png", "train/masks/a.png"
BITS, ONE = "8 or 16 bits a channel, grey or RGB", "one picture"
SUFFIX = "a picture, one of .png .jpg .jpeg .tif .tiff .bmp"
HEAD = "name,split,patient\n"
ROWS = HEAD + "a,train,1\nb,train,2\nc,test,3\nd,test,3\n"
TABLE = "the columns name, split, patient, once each"
TWO, JOIN = "a mask of two values, 0 and another", "; README.md shows how to join numbered objects"
# What is done to a good folder; then every problem: file, what was expected, and a pattern of what was found.
BROKEN = {
    "truncated PNG": (lambda d: cut(noise(d, ".png")), [(IMAGE, READABLE, ".*truncated.*")]),
    "truncated JPEG": (lambda d: cut(noise(d, ".jpg")), [("train/images/a.jpg", READABLE, ".*truncated.*")]),
    "truncated BMP": (lambda d: cut(noise(d, ".bmp")), [("train/images/a.bmp", READABLE, ".*truncated.*")]),
    "truncated TIFF": (lambda d: cut(noise(d, ".tif")), [("train/images/a.tif", READABLE, ".+")]),
    "TIFF cut in its header": (lambda d: cut(noise(d, ".tif"), 0.0005), [("train/images/a.tif", READABLE, ".+")]),
    "text": (
        lambda d: (d / IMAGE).write_text("not an image"),
        [("train/images/a.png", "a readable image", "no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000")],
    ),
    "zero bytes": (
        lambda d: (d / IMAGE).write_bytes(b""),
        [("train/images/a.png", "a readable image", "no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000")],
    ),
    "random bytes": (
        lambda d: (d / IMAGE).write_bytes(bytes(range(256))),
        [("train/images/a.png", "a readable image", "no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000")],
    ),
    "pixels that do not unpack": (
        lambda d: (d / IMAGE).write_bytes(png_header(16, 16).replace(b"IDAT", b"IDAt")),
        [(IMAGE, READABLE, ".+")],
    ),
    "too few pixels": (lambda d: (d / IMAGE).write_bytes(png_header(160, 160)), [(IMAGE, READABLE, ".*truncated.*")]),
    "900 million pixels": (
        lambda d: (d / IMAGE).write_bytes(png_header(30_000, 30_000)),
        [("train/images/a.png", "at most 89 million pixels; cut it into tiles", "30000x30000")],
    ),
    "100 million pixels": (
        lambda d: (d / IMAGE).write_bytes(png_header(10_000, 10_000)),
        [("train/images/a.png", "at most 89 million pixels; cut it into tiles", "10000x10000")],
    ),
    "height of 0": (lambda d: (d / IMAGE).write_bytes(png_header(16, 0)), [(IMAGE, READABLE, ".+")]),
    "1x1": (
        lambda d: (save(d / IMAGE, COLOUR[:1, :1]), save(d / "train/masks/a.png", MASK[:1, :1])),
        [(IMAGE, "at least 8x8 pixels", "1x1 pixels")],
    ),
    "7x16": (
        lambda d: (save(d / IMAGE, COLOUR[:, :7]), save(d / "train/masks/a.png", MASK[:, :7])),
        [(IMAGE, "at least 8x8 pixels", "7x16 pixels")],
    ),
    "NaN in a grey TIFF": (
        lambda d: as_tiff(d, np.full((16, 16), np.nan, np.float32)),
        [("train/images/a.tif", "8 or 16 bits a channel, grey or RGB; save it so", "float32, 1 channel")],
    ),
    "NaN in a colour TIFF": (
        lambda d: as_tiff(d, np.full((16, 16, 3), np.nan, np.float32), photometric="rgb"),
        [("train/images/a.tif", "8 or 16 bits a channel, grey or RGB; save it so", "float32, 3 channels")],
    ),
    "32 bits": (
        lambda d: as_tiff(d, np.zeros((16, 16), np.uint32)),
        [("train/images/a.tif", "8 or 16 bits a channel, grey or RGB; save it so", "uint32, 1 channel")],
    ),
    "signed 16 bits": (
        lambda d: as_tiff(d, np.zeros((16, 16, 3), np.int16), photometric="rgb"),
        [("train/images/a.tif", "8 or 16 bits a channel, grey or RGB; save it so", "int16, 3 channels")],
    ),
    "pages of a TIFF": (
        lambda d: as_tiff(d, np.zeros((3, 16, 16), np.uint8), photometric="minisblack"),
        [("train/images/a.tif", "one picture; save each plane as a file of its own", "3 planes, QYX of 3x16x16")],
    ),
    "pages of a TIFF with floats in colour": (
        lambda d: as_tiff(d, np.zeros((2, 16, 16, 3), np.float32), photometric="rgb"),
        [("train/images/a.tif", "one picture; save each plane as a file of its own", "2 planes, QYXS of 2x16x16x3")],
    ),
    "huge TIFF that Pillow does not know": (
        huge_tiff,
        [("train/images/a.tif", "at most 89 million pixels; cut it into tiles", "60000x60000")],
    ),
    "five channels": (
        lambda d: as_tiff(d, np.zeros((16, 16, 5), np.uint8), photometric="minisblack", planarconfig="contig"),
        [("train/images/a.tif", "8 or 16 bits a channel, grey or RGB; save it so", "uint8, 5 channels")],
    ),
    "CIELAB of 16 bits": (
        lambda d: as_tiff(d, np.zeros((16, 16, 3), np.uint16), photometric="cielab"),
        [("train/images/a.tif", "8 or 16 bits a channel, grey or RGB; save it so", "CIELAB")],
    ),
    "16 bits with white at 0": (
        lambda d: as_tiff(d, np.zeros((16, 16), np.uint16), photometric="miniswhite"),
        [("train/images/a.tif", "16 bits with black at 0; save it so", "white at 0")],
    ),
    "animated PNG": (
        lambda d: Image.fromarray(GREY).save(
            d / IMAGE, save_all=True, append_images=[Image.fromarray(GREY + np.uint8(9))]
        ),
        [("train/images/a.png", "one picture; save each as a file of its own", "2 in one file")],
    ),
    "CMYK": (
        lambda d: Image.new("CMYK", (16, 16)).save(replaced(d / IMAGE).with_suffix(".jpg")),
        [("train/images/a.jpg", "8 or 16 bits a channel, grey or RGB; save it so", "CMYK")],
    ),
    "mask of three values": (
        lambda d: save(d / "train/masks/a.png", np.tile(np.array([0, 100, 200, 0], np.uint8), (16, 4))),
        [
            (
                "train/masks/a.png",
                "a mask of two values, 0 and another",
                "3: 0, 100, 200; greys want a threshold first, or FOREGROUND=100 tells what is foreground",
            )
        ],
    ),
    "mask of five values": (
        lambda d: save(d / "train/masks/a.png", np.tile(np.arange(8, dtype=np.uint8), (16, 2))),
        [
            (
                "train/masks/a.png",
                "a mask of two values, 0 and another",
                "8: 0, 1, 2, 3, \\.\\.\\.; classes, or objects in pieces; FOREGROUND=1 tells what is foreground",
            )
        ],
    ),
    "mask without 0": (
        lambda d: save(d / "train/masks/a.png", np.tile(np.array([1, 2], np.uint8), (16, 8))),
        [
            (
                "train/masks/a.png",
                "a mask of two values, 0 and another",
                "2: 1, 2; no 0 at all looks like a trimap; FOREGROUND=1 tells what is foreground",
            )
        ],
    ),
    "mask of floats": (
        lambda d: tifffile.imwrite(replaced(d / "train/masks/a.png").with_suffix(".tif"), np.zeros((16, 16), "f4")),
        [("train/masks/a.tif", "a mask of integers; save it as PNG of 8 or 16 bits", "float32")],
    ),
    "mask of another size": (
        lambda d: save(d / "train/masks/a.png", MASK[:14]),
        [("train/masks/a.png", "its image's size", "16x14 pixels, the image 16x16 pixels")],
    ),
    "both files of a pair broken": (
        lambda d: ((d / IMAGE).write_bytes(b""), (d / "train/masks/a.png").write_bytes(b"")),
        [
            ("train/images/a.png", "a readable image", "no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000"),
            ("train/masks/a.png", "a readable image", "no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000"),
        ],
    ),
    "image without mask in a folder of both": (
        lambda d: (
            [path.rename(path.parent.parent / f"{path.stem}_mask.png") for path in d.glob("train/masks/*")],
            [path.rename(path.parent.parent / path.name) for path in d.glob("train/images/*")],
            (d / "train/a_mask.png").unlink(),
        ),
        [("train/a.png", "a mask of its name", "none")],
    ),
    "mask without image": (lambda d: (d / IMAGE).unlink(), [("train/masks/a.png", "an image of its name", "none")]),
    "another name in each half": (
        lambda d: (d / IMAGE).rename(d / "train/images/z.png"),
        [("train/images/z.png", "a mask of its name", "none"), ("train/masks/a.png", "an image of its name", "none")],
    ),
    "pictures called images and labels": (
        lambda d: (
            [path.rename(path.with_stem(path.parent.name[:-1] + path.stem)) for path in d.glob("train/*/b.png")]
            + [
                path.rename(path.with_name(f"{name} 07.png"))
                for path, name in ((d / IMAGE, "IMG"), (d / MASK_A, "label"))
            ]
        ),
        [
            ("train/images/imageb.png", "a mask of its name", "none; is it maskb\\.png\\? Then give both one name"),
            ("train/masks/maskb.png", "an image of its name", "none"),
        ],
    ),
    "two masks for one image, by their names": (
        lambda d: (save(d / "train/masks/a_mask.png", MASK), (d / MASK_A).rename(d / "train/masks/a_label.png")),
        [
            (
                "train/images/a.png",
                "one mask, or numbered parts of one; take the others away",
                "train/masks/a_label\\.png and train/masks/a_mask\\.png",
            )
        ],
    ),
    "a folder of masks for one image": (
        lambda d: save(replaced(d / MASK_A).with_suffix("") / "1.png", MASK),
        [("train/images/a.png", "a mask of its name", "none"), ("train/masks/a/1.png", "an image of its name", "none")],
    ),
    "one image in two formats": (
        lambda d: save(d / "train/images/a.jpg", COLOUR),
        [(IMAGE, "one picture called a", "a.jpg as well")],
    ),
    "one mask in two formats": (
        lambda d: save(d / "train/masks/a.bmp", MASK),
        [
            (
                "train/images/a.png",
                "one mask, or numbered parts of one; take the others away",
                "train/masks/a\\.bmp and train/masks/a\\.png",
            )
        ],
    ),
    "one name in two spellings": (twice, [("train/images/é.png", "one picture called é", ".* as well")]),
    "another format": (
        lambda d: replaced(d / IMAGE).with_suffix(".webp").write_bytes(b""),
        [("train/images/a.webp", READABLE, "no PNG, .*")],
    ),
    "folder called as an image": (lambda d: replaced(d / IMAGE).mkdir(), [(IMAGE, "a file", "a folder")]),
    "link to itself": (
        lambda d: replaced(d / IMAGE).symlink_to("a.png"),
        [(IMAGE, "a file", "none behind this name")],
    ),
    "loop of two links": (
        lambda d: (replaced(d / IMAGE).symlink_to("b.png"), replaced(d / "train/images/b.png").symlink_to("a.png")),
        [(IMAGE, "a file", "none behind this name"), ("train/images/b.png", "a file", "none behind this name")],
    ),
    "link to nothing": (
        lambda d: replaced(d / IMAGE).symlink_to("/no/such"),
        [(IMAGE, "a file", "none behind this name")],
    ),
    "pipe that never ends": (lambda d: os.mkfifo(replaced(d / IMAGE)), [(IMAGE, "a file", "none behind this name")]),
    "line end in a name": (
        lambda d: (d / "train/images/x\ny.png").write_bytes(b""),
        [(r"train/images/x\ny.png", "a file name of printable characters", "others")],
    ),
    "name that is no UTF-8": (
        lambda d: (d / "train/images" / os.fsdecode(b"x\xff.png")).write_bytes(b""),
        [(r"train/images/x\udcff.png", "a file name of printable characters", "others")],
    ),
    "no masks folder": (
        lambda d: remove(d / "train/masks"),
        [("train", "a folder of images and masks", "images without masks")],
    ),
    "file called images": (
        lambda d: (remove(d / "test/images"), (d / "test/images").write_text("")),
        [("test/masks/c.png", "an image of its name", "none"), ("test/masks/d.png", "an image of its name", "none")],
    ),
    "no test folder": (lambda d: remove(d / "test"), [("test", "a folder of images and masks", "none")]),
    "no training folder": (lambda d: remove(d / "train"), [("train", "a folder of images and masks", "none")]),
    "no pair in test": (
        lambda d: [path.unlink() for path in d.glob("test/*/*")],
        [("test", "a folder of images and masks", "none")],
    ),
    "empty test folder": (
        lambda d: [remove(path) for path in d.glob("test/*")],
        [("test", "a folder of images and masks", "none")],
    ),
    "nothing": (
        lambda d: [remove(path) for path in d.iterdir()],
        [("", "pictures and their masks", "nothing")],
    ),
    "training masks all black": (
        lambda d: masks_of(d, 0),
        [("", "foreground and background in the training masks", "none")],
    ),
    "training masks all white": (
        lambda d: masks_of(d, 255),
        [("", "foreground and background in the training masks", "only foreground")],
    ),
    "4 bits stored in 8": (
        lambda d: all_of(d, np.full((16, 16), 15, np.uint8)),
        [("", "training images that use their range; scale them up", "99\\.9% of their values are at most 15 of 255")],
    ),
    "table without patients": (lambda d: rows(d, "name,split\na,train\n"), [("images.csv", TABLE, "name, split")]),
    "empty table": (lambda d: rows(d, ""), [("images.csv", TABLE, "none")]),
    "a column twice": (lambda d: rows(d, "name,split,patient,name\n"), [("images.csv", TABLE, ".*")]),
    "table in UTF-16": (
        lambda d: rows(d, ROWS.encode("utf-16")),
        [("images.csv", "a table in CSV and UTF-8", "'utf-8' codec .*")],
    ),
    "quote without end": (
        lambda d: rows(d, HEAD + '"a,train,1\n'),
        [("images.csv", "a table in CSV and UTF-8", "unexpected end of data")],
    ),
    "table that is a folder": (
        lambda d: (d / "images.csv").mkdir(),
        [("images.csv", "a file", "a folder")],
    ),
    "row without patient": (
        lambda d: rows(d, ROWS.replace("b,train,2", "b,train,")),
        [("images.csv", "a value for patient in row 3", "none")],
    ),
    "short row": (
        lambda d: rows(d, ROWS.replace("b,train,2", "b,train")),
        [("images.csv", "3 values in row 3", "2")],
    ),
    "row twice": (
        lambda d: rows(d, ROWS + "a,train,9\n"),
        [("images.csv", "one row for a in train", "another in row 6")],
    ),
    "missing row": (
        lambda d: rows(d, ROWS.replace("b,train,2\n", "")),
        [("images.csv", "a row for b in train", "none")],
    ),
    "row of no image": (
        lambda d: rows(d, ROWS + "e,test,4\n"),
        [("images.csv", "rows for images of this folder", "one for e in test")],
    ),
    "row of an image without mask": (
        lambda d: (rows(d, ROWS.replace("b,train,2\n", "")), (d / MASK_A).unlink()),
        [
            ("images.csv", "a row for b in train", "none"),
            ("images.csv", "rows for images of this folder", "one for a in train"),
        ],
    ),
    "table of the other layout": (
        lambda d: rows(d, "name,group\na,1\n", "groups.csv"),
        [
            ("groups.csv", "a row for b", "none"),
            ("groups.csv", "a row for c", "none"),
            ("groups.csv", "a row for d", "none"),
        ],
    ),
}


def _orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = value
    return exif


def found_in(folder: Path) -> list[tuple[str, str, str]]:
    _, dataset, problems = read_folder(folder)
    assert (dataset is None) == bool(problems)
    return [(p.file.removeprefix(str(folder)).removeprefix("/"), p.expected, p.found) for p in problems]


@pytest.mark.parametrize("damage", BROKEN)
def test_everything_wrong_with_a_folder_is_found_and_nothing_else(damage, own: Path):
    break_it, expected = BROKEN[damage]
    break_it(own)
    found = found_in(own)
    assert len(found) == len(expected), found
    for problem, pattern in zip(found, expected, strict=True):
        if damage in ("one name in two spellings",):
            problem = tuple(unicodedata.normalize("NFC", text) for text in problem)
        assert problem[0] == pattern[0]
        assert problem[1] == pattern[1]
        assert re.fullmatch(pattern[2], problem[2]), problem
    with pytest.raises(UserError) as caught:
        load_dataset(str(own))
    assert "\n" not in str(caught.value)
    more = f"; and {len(expected) - 1} more; make data CHECK={own} lists all"
    assert str(caught.value).endswith(more) == (len(expected) > 1)


def test_a_good_folder_has_no_problem(own: Path):
    assert found_in(own) == []


def test_a_folder_of_which_much_is_broken_is_read_to_its_end(own: Path):
    for damage in ("zero bytes", "mask without 0", "empty table"):
        BROKEN[damage][0](own)
    (own / "test/masks/d.png").rename(own / "test/masks/x.png")
    files = [file for file, _, _ in found_in(own)]
    assert files == ["images.csv", "test/images/d.png", "test/masks/x.png", IMAGE, "train/masks/a.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser reads everything")
@pytest.mark.parametrize(("name", "mode"), [(IMAGE, 0), ("train/images", 0), ("train", 0o600)])
def test_what_may_not_be_read_is_named(name, mode, own: Path):
    (own / name).chmod(mode)
    try:
        assert any(file.startswith(name) and found == "Permission denied" for file, _, found in found_in(own))
    finally:
        (own / name).chmod(0o755)


@pytest.mark.parametrize("name", ["Ünïcode", "with space", "it's", 'a"b', "<script>alert(1)", "日本", "a.b"])
def test_unusual_names_are_read(name, own: Path):
    for kind in ("images", "masks"):
        (own / "train" / kind / "a.png").rename(own / "train" / kind / f"{name}.png")
    assert name in load_dataset(str(own)).train.names


@pytest.mark.parametrize("value", [0, 255])
def test_single_masks_may_be_all_background_or_all_foreground(value, own: Path):
    save(own / "train/masks/a.png", np.full((16, 16), value, np.uint8))
    assert load_dataset(str(own)).train.foreground.tolist() == [value / 255, 0.5]


@pytest.mark.parametrize(
    ("suffix", "array", "expected"),
    [
        (".png", np.full((16, 16), 7, np.uint8), (7, 7, 7)),
        (".bmp", COLOUR, (90, 90, 90)),
        (".JPG", COLOUR, (90, 90, 90)),
        (".png", np.full((16, 16), 0x1234, np.uint16), (0x1234, 0x1234, 0x1234)),
        (".tif", np.full((16, 16), 0x1234, np.uint16), (0x1234, 0x1234, 0x1234)),
        (".tiff", np.tile(np.array([0x1234, 0xFF00, 0x00FF], np.uint16), (16, 16, 1)), (0x1234, 0xFF00, 0x00FF)),
        (".png", np.tile(np.array([1, 2, 3, 0], np.uint8), (16, 16, 1)), (1, 2, 3)),  # transparent
        (".tif", np.tile(np.array([1, 2, 3], np.uint8), (16, 16, 1)), (1, 2, 3)),
    ],
)
def test_pictures_become_rgb(suffix, array, expected, tmp_path: Path):
    path = tmp_path / f"a{suffix}"
    if "tif" in suffix:
        tifffile.imwrite(path, array, photometric="rgb" if array.ndim == 3 else "minisblack")
    else:
        Image.fromarray(array).save(path)
    np.testing.assert_array_equal(read_image(path, path)[0], np.broadcast_to(np.array(expected), (16, 16, 3)))


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "minisblack", "planarconfig": "contig"},
        {"photometric": "rgb", "planarconfig": "separate", "extrasamples": ["unspecified"]},
    ],
)
def test_tiff_that_only_tifffile_knows_is_read(options, tmp_path: Path):
    path, array = tmp_path / "a.tif", np.tile(np.array([0x1FFF, 0x2000, 0x3FFF, 0], np.uint16), (16, 16, 1))
    array = array[..., :3] if options["planarconfig"] == "contig" else np.moveaxis(array, 2, 0)
    tifffile.imwrite(path, array, **options)
    with pytest.raises((UnidentifiedImageError, ValueError)), Image.open(path) as image:
        image.load()
    np.testing.assert_array_equal(read_image(path, path)[0], np.tile(np.uint16([0x1FFF, 0x2000, 0x3FFF]), (16, 16, 1)))


def test_what_systems_leave_in_folders_is_no_picture(own: Path):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "images/Thumbs.db", "masks/.a.png"):
        (own / "train" / name).write_bytes(b"\0")
    assert found_in(own) == []


def test_black_images_of_16_bits_are_read(own: Path):
    save(own / IMAGE, np.zeros((16, 16), np.uint16))
    assert load_dataset(str(own)).train.images[0].max() == 0


def test_of_a_palette_images_take_colours_and_masks_indices(tmp_path: Path):
    picture = Image.fromarray(np.repeat(np.array([0, 1], np.uint8), 8)[:, None].repeat(16, 1), "L").convert("P")
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", "a")[0][0, 0].tolist() == [255, 0, 0]
    assert read_image(tmp_path / "a.png", "a")[0][-1, 0].tolist() == [0, 0, 255]
    assert read_mask(tmp_path / "a.png", "a").foreground.mean(axis=1).tolist() == [0.0] * 8 + [1.0] * 8


def test_resizing_averages_images_and_lets_the_majority_decide_masks():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2, 0] = [[0, 100], [200, 100]]
    assert resize_image(image, (2, 2))[..., 0].tolist() == [[100, 0], [0, 0]]
    mask = np.array([[1, 1, 1, 1], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 1, 1]], bool)
    assert resize_mask(mask, (2, 2)).tolist() == [[True, False], [False, True]]  # 3, 2 (a tie), 1 and 3 of 4


def test_images_of_several_sizes_become_128_and_keep_theirs_on_record(own: Path):
    save(own / IMAGE, np.full((40, 60, 3), 90, np.uint8))
    save(own / "train/masks/a.png", np.full((40, 60), 255, np.uint8))
    dataset = load_dataset(str(own))
    assert dataset.image_size == (128, 128)
    assert dataset.train.original_sizes == ((40, 60), (16, 16))
    assert load_dataset(str(own), size=32).image_size == (32, 32)


def test_patients_and_sizes_come_from_the_table(own: Path):
    rows(own, "split,name,patient,height,width\r test , d , p 3 ,522,775\rTrain,a,1,,\rtrain,b,2,x,1\rTEST,c,3,1,2\r")
    dataset = load_dataset(str(own))
    assert dataset.train.patients == ("1", "2")
    assert dataset.test.patients == ("3", "p 3")
    assert dataset.train.original_sizes == ((16, 16), (16, 16))
    assert dataset.test.original_sizes == ((1, 2), (522, 775))


def test_second_test_split_is_read(own: Path):
    save(own / "TestB/images/e.png", COLOUR)
    save(own / "TestB/masks/e.png", MASK)
    dataset = load_dataset(str(own))
    assert list(dataset.splits) == ["train", "test", "testB"]
    assert dataset.splits["testB"].names == ("e",)


@pytest.mark.parametrize(("fraction", "n_test"), [(0.4, 4), (0.25, 2), (0.01, 1), (0.99, 9)])
def test_a_folder_without_splits_is_divided_the_same_way_each_time(fraction, n_test, flat: Path):
    first, again = (load_dataset(str(flat), test_fraction=fraction) for _ in "ab")
    assert (len(first.train), len(first.test)) == (10 - n_test, n_test)
    assert first.test.names == again.test.names
    assert sorted(first.train.names + first.test.names) == list("0123456789")


def test_groups_stay_together(flat: Path):
    rows(flat, "name,group\n" + "".join(f"{i},{'abcd'[i % 4]}\n" for i in range(10)), "groups.csv")
    dataset = load_dataset(str(flat))
    train, test = set(dataset.train.patients or ()), set(dataset.test.patients or ())
    assert train | test == set("abcd")
    assert not train & test


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("groups.csv", "name,group\n" + "".join(f"{i},g\n" for i in range(10)), ("", "at least two .*", "1")),
        ("groups.csv", "name,group\n0,g\n", ("groups.csv", "a row for .", "none")),
        ("groups.csv", "0,g\n", ("groups.csv", "the columns name, group, once each", "0, g")),
        ("images.csv", ROWS, ("images.csv", "a row for 0 in .*", "none")),
    ],
)
def test_groups_that_cannot_be_used_are_refused(name, content, expected, flat: Path):
    rows(flat, content, name)
    for actual, pattern in zip(found_in(flat)[0], expected, strict=True):
        assert re.fullmatch(pattern, actual)


def test_one_image_cannot_be_divided(flat: Path):
    for path in [*flat.glob("*/[1-9].png")]:
        path.unlink()
    assert found_in(flat) == [("", "at least two images, of two groups, to divide", "1")]


@given(
    st.lists(st.integers(0, 9).map(str), min_size=2).filter(lambda groups: len(set(groups)) > 1), st.floats(0.01, 0.99)
)
def test_every_division_has_whole_groups_on_both_sides(groups, fraction):
    test = choose_test(groups, fraction)
    assert set() < test < set(groups)
    assert choose_test(reversed(groups), fraction) == test


@given(st.binary())
def test_any_bytes_are_a_table_or_a_problem(data):
    problems: list[Problem] = []
    table = read_table("x.csv", data, ("name", "group"), 1, problems)
    assert all(str(problem).startswith("x.csv: expected ") and "\n" not in str(problem) for problem in problems)
    assert table == {} or data.count(b"name") == 1


value = st.text(st.characters(categories=["L", "N", "S"]), min_size=1).map(str.strip).filter(bool)


@given(st.dictionaries(value, value), st.sampled_from(["\n", "\r", "\r\n"]), st.sampled_from(["", " ", "  "]))
def test_tables_with_line_ends_of_any_system_and_padding_are_read(groups, end, pad):
    text = end.join(["name, group", *(f"{pad}{name}{pad},{pad}{group}{pad}" for name, group in groups.items())])
    problems: list[Problem] = []
    table = read_table("x.csv", text.encode(), ("name", "group"), 1, problems)
    assert problems == []
    assert {key: row["group"] for (key,), row in table.items()} == groups


def test_patients_come_from_the_table_of_the_warwick_images_where_it_lies_beside_them(discs: Dataset, tmp_path: Path):
    folder = write_dataset(discs, tmp_path / "discs")
    for path in folder.rglob("image_00.png"):  # they count from one
        path.rename(path.with_name("image_10.png"))
        path.with_name("label_00.png").rename(path.with_name("label_10.png"))
    rows = [f"train_{i},{i % 3}, benign, healthy" for i in range(1, 11)]
    rows += [f"testA_{i}, {i % 2 + 7}, {'malignant' if i > 4 else 'benign'}, x" for i in (1, 2, 3, 4, 5, 10)]
    rows += ["testB_1, 9, benign, x"]
    header = "name,patient ID, grade (GlaS), grade (Sirinukunwattana et al. 2015)"
    (folder / "Grade.csv").write_bytes("\r".join([header, *rows]).encode())
    dataset = load_dataset(str(folder))
    assert dataset.train.patients == ("1", "2", "0", "1", "2", "0", "1", "2", "0", "1")
    assert dataset.test.patients == ("8", "7", "8", "7", "8", "7")
    assert dataset.test.grades == ("benign",) * 4 + ("malignant",) * 2
    assert load_dataset(str(folder), stain="unmixed").test.grades == dataset.test.grades  # also from the cache
    (folder / "Grade.csv").write_bytes("\r".join([header, *rows[1:]]).encode())
    with pytest.raises(UserError, match=r"Grade.csv: expected a row for train_1, found none"):
        load_dataset(str(folder))
