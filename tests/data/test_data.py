import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import write_dataset
from PIL import Image

from lib._errors import UserError
from lib._files import ROOT
from lib.data import reading
from lib.data.dataset import Dataset, Fold, Split, duplicates, shared_patients
from lib.data.reading import load_dataset
from lib.data.stain import stain_range, unmix


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


def test_levels_that_fill_areas_are_classes_and_no_smooth_edge(folder: Path):
    mask = np.zeros((16, 16), np.uint8)
    mask[:3, :4], mask[4:7, :4], mask[8:] = 85, 170, 255
    Image.fromarray(mask).save(folder / "Train" / "label_00.png")
    with pytest.raises(UserError, match="expected a mask of two values"):
        load_dataset(str(folder))


@pytest.mark.parametrize("value", [0, 255])
def test_masks_without_foreground_or_without_background_are_read(value, folder: Path):
    Image.fromarray(np.full((16, 16), value, np.uint8)).save(folder / "Train" / "label_00.png")
    assert load_dataset(str(folder)).train.masks[0].mean() == (value > 0)


def pixels(folder: Path, name: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(folder / name)


grey = np.zeros((16, 16), np.uint8)
BROKEN = {
    "no Test folder": (
        lambda d: (d / "Test").rename(d / "Tets"),
        r"test: expected a folder of images and masks, found none",
    ),
    "no image in a split": (
        lambda d: [path.unlink() for path in (d / "Test").iterdir()],
        r"test: expected a folder of images and masks, found none",
    ),
    "image without mask": (
        lambda d: (d / "Train/label_03.png").unlink(),
        r"image_03.png: expected a mask of its name, found none",
    ),
    "mask without image": (
        lambda d: (d / "Train/image_03.png").unlink(),
        r"label_03.png: expected an image of its name, found none",
    ),
    "mask of another size": (
        lambda d: pixels(d, "Train/label_02.png", grey[:14]),
        r"label_02.png: expected its image's size, found 16x14 pixels, the image 16x16 pixels",
    ),
    "mask of three values": (
        lambda d: pixels(d, "Train/label_05.png", np.tile(np.array([0, 100, 200, 0], np.uint8), (16, 4))),
        r"label_05.png: expected a mask of two values, 0 and another, found 3: 0, 100, 200; greys want a threshold",
    ),
    "mask of two values without 0": (
        lambda d: pixels(d, "Train/label_05.png", np.tile(np.array([1, 2], np.uint8), (16, 8))),
        r"label_05.png: expected a mask of two values, 0 and another, found 2: 1, 2",
    ),
    "text instead of an image": (
        lambda d: (d / "Train/image_01.png").write_text("not an image"),
        r"image_01.png: expected a readable image, found no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000",
    ),
    "truncated image": (
        lambda d: (d / "Train/image_01.png").write_bytes((d / "Train/image_01.png").read_bytes()[:200]),
        r"image_01.png: expected a readable image, found image file is truncated",
    ),
    "empty file": (
        lambda d: (d / "Train/image_01.png").write_bytes(b""),
        r"image_01.png: expected a readable image, found no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000",
    ),
    "an image without mask in another format": (
        lambda d: (d / "Train/image_99.jpg").write_bytes(b""),
        r"image_99.jpg: expected a mask of its name, found none",
    ),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_broken_folder_is_refused_in_one_line_that_names_the_file(damage, folder: Path):
    break_it, message = BROKEN[damage]
    break_it(folder)
    with pytest.raises(UserError, match=message) as caught:
        load_dataset(str(folder))
    assert "\n" not in str(caught.value)


def of_size(discs: Dataset, folder: Path, height: int) -> Path:
    cut = [replace(split, images=split.images[:, :height], masks=split.masks[:, :height]) for split in splits(discs)]
    return write_dataset(Dataset("cut", *cut), folder)


def splits(dataset: Dataset) -> tuple[Split, Split]:
    return dataset.train, dataset.test


def test_images_of_one_even_size_stay_as_they_are(discs: Dataset, tmp_path: Path):
    dataset = load_dataset(str(of_size(discs, tmp_path / "even", 16)))
    assert dataset.image_size == (16, 16)
    assert dataset.test.original_sizes == ((16, 16),) * 6


def test_images_of_one_size_outside_of_the_range_are_refused_as_a_size_is(discs: Dataset, tmp_path: Path):
    folder = of_size(discs, tmp_path / "small", 14)
    with pytest.raises(UserError, match=r"sides from 16 and 262144 pixels at most, found 16x14 pixels; give SIZE=128"):
        load_dataset(str(folder))
    assert load_dataset(str(folder), size=32).image_size == (32, 32)


def test_odd_sizes_are_resized_since_pooling_halves_them(discs: Dataset, tmp_path: Path):
    dataset = load_dataset(str(of_size(discs, tmp_path / "odd", 15)))
    assert dataset.image_size == (128, 128)
    assert dataset.train.original_sizes == ((15, 16),) * 10


def test_a_size_that_is_given_counts(folder: Path):
    dataset = load_dataset(str(folder), size=32)
    assert dataset.image_size == (32, 32)
    assert load_dataset("synthetic", size=64).image_size == (64, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 33}, "SIZE=33: expected an even number from 16 to 1024, found '33'"),
        ({"size": 0}, "SIZE=0: expected an even number from 16 to 1024, found '0'"),
        ({"size": 2048}, "SIZE=2048: expected an even number from 16 to 1024, found '2048'"),
        ({"stain": "he"}, "STAIN=he: expected rgb or unmixed, found 'he'"),
        ({"test_fraction": 1.0}, "TEST_FRACTION=1.0: expected a number above 0 and below 1, found 1.0"),
        ({"test_fraction": float("nan")}, "TEST_FRACTION=nan: expected a number above 0 and below 1, found nan"),
    ],
)
def test_parameters_out_of_range_are_refused(arguments, message):
    with pytest.raises(UserError) as caught:
        load_dataset("synthetic", **arguments)
    assert str(caught.value) == message


def test_duplicates_are_found_within_and_between_splits(discs: Dataset):
    images = discs.test.images.copy()
    images[0] = images[3] = discs.train.images[1]
    changed = replace(discs, test=replace(discs.test, images=images))
    assert duplicates(discs) == []
    assert duplicates(changed) == [[("train", "image_01"), ("test", "image_00"), ("test", "image_03")]]


def test_patients_that_splits_share_are_listed(discs: Dataset):
    assert shared_patients(discs) is None
    train, test = replace(discs.train, patients=tuple("aabbcccccc")), replace(discs.test, patients=tuple("bbcccd"))
    assert shared_patients(Dataset("x", train, test)) == {("train", "test"): ["b", "c"]}
    again = replace(discs.test, patients=tuple("dddddd"))
    assert shared_patients(Dataset("x", train, test, again)) == {
        ("train", "test"): ["b", "c"],
        ("train", "testB"): [],
        ("test", "testB"): ["d"],
    }


def test_grey_images_are_told_from_coloured_ones(discs: Dataset):
    images = discs.train.images.copy()
    images[1] = images[1, ..., :1]
    split = replace(discs.train, images=images, patients=tuple(discs.train.names))
    expected = [index != 1 for index in range(len(split))]
    assert split.coloured.tolist() == expected
    part = split.part(np.flatnonzero(split.coloured)[:2])
    assert part.names == part.patients == (split.names[0], split.names[2])
    np.testing.assert_array_equal(part.images, images[[0, 2]])
    np.testing.assert_array_equal(part.masks, split.masks[[0, 2]])


def test_foreground_is_told_per_image():
    masks = np.zeros((2, 4, 4), bool)
    masks[1, 0] = True
    split = Split(("a", "b"), np.zeros((2, 4, 4, 3), np.uint8), masks)
    assert split.foreground.tolist() == [0, 0.25]
    assert split.foreground_fraction == 0.125


def stained(haematoxylin: float, eosin: float) -> np.ndarray:
    """RGB of a pixel with so much of each stain: Beer-Lambert's law with the vectors of Ruifrok and Johnston."""
    density = haematoxylin * np.array([0.65, 0.70, 0.29]) + eosin * np.array([0.07, 0.99, 0.11])
    return (255 * np.exp(-density)).round().astype(np.uint8)


def test_unmixing_separates_the_stains_and_scales_them_over_the_training_split():
    amounts = np.linspace(0, 1, 256)
    one = np.stack([stained(h, 0.2) for h in amounts]).reshape(1, 16, 16, 3)
    other = np.stack([stained(0.2, e) for e in amounts]).reshape(1, 16, 16, 3)
    limits = stain_range(np.concatenate([one, other]))
    blue, pink = (unmix(images, limits).reshape(256, 3).astype(int) for images in (one, other))
    assert blue.shape == (256, 3)
    assert np.ptp(blue[:, 0]) > 250
    assert np.ptp(blue[:, 1]) < 10
    assert np.ptp(pink[:, 1]) > 250
    assert np.ptp(pink[:, 0]) < 10
    assert np.corrcoef(blue[:, 0], amounts)[0, 1] > 0.99


def test_stains_of_test_images_are_scaled_as_those_of_training_images(folder: Path):
    for path in folder.glob("Test/image_*.png"):
        Image.fromarray(np.asarray(Image.open(path)) // 8).save(path)
    before = load_dataset(str(folder), stain="unmixed").train.images
    for path in folder.glob("Test/image_*.png"):
        path.unlink()
        Image.fromarray(np.full((16, 16, 3), 255, np.uint8)).save(path)
    dataset = load_dataset(str(folder), stain="unmixed")
    np.testing.assert_array_equal(dataset.train.images, before)
    assert dataset.train.images.dtype == np.uint8
    assert dataset.test.images[..., :2].max() == 0  # no stain on white


def test_equal_limits_give_zero():
    assert unmix(np.full((1, 8, 8, 3), 9, np.uint8), np.ones((2, 3))).max() == 0


@pytest.fixture
def cached(folder: Path, tmp_path: Path, monkeypatch) -> Path:
    """A folder, with a cache of its own."""
    monkeypatch.setattr("lib.data.cache.CACHE", tmp_path / "cache")
    return folder


def same(one: Dataset, other: Dataset) -> bool:
    pairs = zip(splits(one), splits(other), strict=True)
    equal = all(np.array_equal(a.images, b.images) and np.array_equal(a.masks, b.masks) for a, b in pairs)
    return equal and one.sha256 == other.sha256 and one.train.original_sizes == other.train.original_sizes


def test_a_dataset_is_decoded_once(cached: Path, tmp_path: Path, monkeypatch):
    first = load_dataset(str(cached))
    monkeypatch.setattr("lib.data.reading._read_pairs", None)
    again = load_dataset(str(cached))
    assert same(first, again)
    assert again.train.images.flags.writeable  # torch warns of arrays that are not
    again.train.images[:] = 0
    assert same(first, load_dataset(str(cached)))
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("change", ["pixels", "size", "stain", "code"])
def test_what_decides_the_pixels_is_decoded_again(change, cached: Path, tmp_path: Path, monkeypatch):
    path = cached / "Train/image_00.png"
    Image.fromarray(np.asarray(Image.open(path))).save(path, compress_level=0)  # so that its size stays
    times = path.stat()
    load_dataset(str(cached))
    arguments = {"size": {"size": 64}, "stain": {"stain": "unmixed"}}.get(change, {})
    if change == "pixels":
        Image.fromarray(np.asarray(Image.open(path)) ^ 1).save(path, compress_level=0)
        assert path.stat().st_size == times.st_size
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps times does
    if change == "code":
        shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
        (tmp_path / "lib/data/images.py").write_text("# changed")
        monkeypatch.setattr("lib.data.cache.CODE", tmp_path / "lib" / "data")
    load_dataset(str(cached), **arguments)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def flip(path: Path, at: int = -5) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: flip(d / "train-images.npy"),
        lambda d: flip(d / "test-masks.npy"),
        lambda d: flip(d / "test-images.npy", 64),
        lambda d: flip(d / "index.json", 20),
        lambda d: (d / "test-images.npy").write_bytes((d / "test-images.npy").read_bytes()[:-1]),
        lambda d: (d / "train-masks.npy").write_bytes(b""),
        lambda d: (d / "index.json").write_text(""),
        lambda d: (d / "index.json").unlink(),
    ],
)
def test_a_damaged_cache_is_made_again(damage, cached: Path, tmp_path: Path, capsys):
    first = load_dataset(str(cached))
    (entry,) = (tmp_path / "cache").iterdir()
    damage(entry)
    assert same(first, load_dataset(str(cached)))
    assert f"data/cache/{entry.name}: damaged, made again\n" in capsys.readouterr().err
    assert same(first, load_dataset(str(cached)))
    assert "damaged" not in capsys.readouterr().err


def test_caches_that_were_not_used_for_longest_go_and_the_newest_stays(cached: Path, tmp_path: Path, monkeypatch):
    first, second, third = (load_dataset(str(cached), size=size) for size in (32, 34, 36))
    for age, dataset in enumerate((second, third, first)):
        os.utime(tmp_path / "cache" / dataset.key, (10**9 - age, 10**9 - age))
    one = sum(file.stat().st_size for file in (tmp_path / "cache" / third.key).iterdir())
    monkeypatch.setattr("lib.data.cache.LARGEST", 3 * one)
    fourth = load_dataset(str(cached), size=38)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {second.key, fourth.key}
    monkeypatch.setattr("lib.data.cache.LARGEST", 1)
    fifth = load_dataset(str(cached), size=40)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [fifth.key]


def test_the_embedded_set_is_drawn_once(cached: Path, monkeypatch):
    first = load_dataset("synthetic", size=96)
    monkeypatch.setattr("lib.data.reading.draw_dataset", None)
    again = load_dataset("synthetic", size=96)
    assert same(first, again)
    assert first.train.patients == again.train.patients
    assert again.train.original_sizes is None
    assert load_dataset("synthetic", size=96, stain="unmixed").stain == "unmixed"


def test_by_its_key_a_dataset_is_as_it_was_read_whatever_became_of_its_files(cached: Path, tmp_path: Path):
    rows = [f"image_{i:02d},{which},{i % 2}\n" for which, n in (("train", 10), ("test", 6)) for i in range(n)]
    (cached / "images.csv").write_text("".join(["name,split,patient\n", *rows]))
    first = load_dataset(str(cached))
    path = cached / "Train/image_00.png"
    Image.fromarray(np.asarray(Image.open(path)) ^ 1).save(path)
    (cached / "images.csv").unlink()
    again = load_dataset(str(cached), key=first.key)
    assert same(first, again)
    assert again.train.patients == first.train.patients == ("0", "1") * 5
    stains = load_dataset(str(cached), key=first.key, stain="unmixed")
    np.testing.assert_array_equal(stains.train.images, unmix(first.train.images, stain_range(first.train.images)))
    assert stains.key == first.key
    assert load_dataset(str(cached)).key != first.key
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(UserError, match="expected the files that the report began with, found them changed"):
        load_dataset(str(cached), key=first.key)


def test_files_that_change_while_they_are_read_are_not_kept(cached: Path, tmp_path: Path, monkeypatch):
    path = cached / "Train/image_00.png"

    def replaced(*arguments):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path)
        return read(*arguments)

    read = reading._read_pairs
    monkeypatch.setattr(reading, "_read_pairs", replaced)
    with pytest.raises(UserError, match="expected files that stay as they are while they are read"):
        load_dataset(str(cached))
    assert not (tmp_path / "cache").exists()


def test_stains_and_colours_are_kept_beside_each_other(cached: Path, monkeypatch):
    stains = load_dataset(str(cached), stain="unmixed")
    monkeypatch.setattr(reading, "_read_pairs", None)
    monkeypatch.setattr(reading, "unmixed", None)
    assert same(stains, load_dataset(str(cached), stain="unmixed"))
    assert load_dataset(str(cached)).sha256 != stains.sha256


def test_a_cache_that_cannot_be_written_is_said_and_no_failure(cached: Path, tmp_path: Path, capsys):
    (tmp_path / "cache").write_text("a file in its place")
    load_dataset(str(cached))
    assert "data/cache: not written (" in capsys.readouterr().err


def test_missing_folder_is_refused():
    with pytest.raises(
        UserError, match=r"DATASET=/no/such: expected 'synthetic' or a folder of images, found no such folder"
    ):
        load_dataset("/no/such")


def grouped(patients: str, test: str) -> Dataset:
    """Images that differ, of patients named by letters."""
    splits = [
        Split(
            tuple(f"image_{i}" for i in range(len(whom))),
            np.stack([np.full((8, 8, 3), start + i, np.uint8) for i in range(len(whom))]),
            np.zeros((len(whom), 8, 8), bool),
            tuple(whom),
        )
        for whom, start in ((patients, 0), (test, 100))
    ]
    return Dataset("grouped", *splits)


@pytest.mark.parametrize(("images", "total"), [("train", 12), ("all", 18)])
def test_folds_hold_out_every_image_once_and_share_no_patient(images, total):
    dataset = grouped("aaaabbcdefgg", "aabbhh")
    folds = [Fold(images, index).of_dataset(dataset) for index in range(5)]
    held_out = [value for fold in folds for value in fold.test.images[:, 0, 0, 0]]
    assert len(held_out) == len(set(held_out)) == total
    for fold in folds:
        assert len(fold.train) + len(fold.test) == total
        assert not set(fold.train.patients) & set(fold.test.patients)
        for split in (fold.train, fold.test):  # names, images and patients stay together
            for name, image, patient in zip(split.names, split.images, split.patients, strict=True):
                which, _, stem = name.rpartition(" ")
                source = dataset.splits[which or "train"]
                index = source.names.index(stem)
                assert image[0, 0, 0] == source.images[index, 0, 0, 0]
                assert patient == source.patients[index]


def test_folds_have_like_many_patients_and_are_the_same_each_time_but_others_in_another_division():
    dataset = grouped("aaaabbcdefgg", "aabbhh")
    held_out = [set(Fold("train", i).of_dataset(dataset).test.patients) for i in range(5)]
    assert sorted(map(len, held_out)) == [1, 1, 1, 2, 2]
    assert [set(Fold("train", i, repeat=1).of_dataset(dataset).test.patients) for i in range(5)] != held_out
    assert Fold("all", 3).of_dataset(dataset).sha256 == Fold("all", 3).of_dataset(dataset).sha256


def test_without_patients_each_image_is_one_of_its_own():
    dataset = grouped("aaaaaaaaaa", "bbbbb")
    unknown = Dataset("unknown", *(replace(split, patients=None) for split in (dataset.train, dataset.test)))
    fold = Fold("train", 0).of_dataset(unknown)
    assert (len(fold.train), len(fold.test), fold.test.patients) == (8, 2, None)


def test_with_few_patients_there_are_fewer_folds_and_with_one_none():
    assert [Fold("train", 0).count(grouped(whom, "c")) for whom in ("aab", "aaa", "abcdefg")] == [2, 0, 5]


def test_too_few_patients_for_folds_are_refused():
    with pytest.raises(UserError, match="fold 3: expected that many patients, found 2 in grouped"):
        Fold("train", 2).of_dataset(grouped("aab", "c"))
