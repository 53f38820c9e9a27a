"""Structural copies of public sets, tiny, under the names and in the formats in which they are published."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import QUICK
from PIL import Image

from lib.data.__main__ import main
from lib.data.reading import load_dataset
from lib.report import make as report

SIDE = 40


def disc(index: int, size: int = SIDE) -> np.ndarray:
    """A disc that tells which image it is of: its place is the index's."""
    y, x = np.mgrid[:size, :size]
    return (x - 12 - 3 * (index % 6)) ** 2 + (y - 12 - 3 * (index // 6)) ** 2 < 64


def photo(index: int, mask: np.ndarray | None = None) -> np.ndarray:
    """A noisy image that shows its own disc, so that a wrong pair is noticed."""
    rng = np.random.default_rng(index)
    mask = disc(index) if mask is None else mask
    return (np.where(mask[..., None], 200, 40) + rng.integers(0, 20, (*mask.shape, 3))).astype(np.uint8)


def save(path: Path, array: np.ndarray, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() in (".tif", ".tiff"):
        tifffile.imwrite(path, array, **options)
    else:
        Image.fromarray(array).save(path, **options)


def grey(mask: np.ndarray) -> np.ndarray:
    return mask.astype(np.uint8) * np.uint8(255)


def parts(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Two discs side by side, of which one is the image's own."""
    other = np.zeros((SIDE, SIDE), bool)
    other[33:38, 3 + index % 20 : 9 + index % 20] = True
    return disc(index), other


def numbered(index: int) -> np.ndarray:
    """One to three objects by number."""
    own, other = parts(index)
    objects = own * np.uint16(1) + other * np.uint16(2 * (index % 3 > 0))
    objects[1:4, 35:39] = 3 * (index % 3 > 1)
    return objects


def kvasir_seg(d: Path) -> None:
    for i in range(8):
        save(d / f"Kvasir-SEG/images/cju{i}x.jpg", photo(i), quality=90)
        save(d / f"Kvasir-SEG/masks/cju{i}x.jpg", np.repeat(grey(disc(i))[..., None], 3, 2), quality=90)
    (d / "Kvasir-SEG/kavsir_bboxes.json").write_text("{}")


def isic(d: Path) -> None:
    for split, indices in (("Training", range(6)), ("Validation", range(6, 8)), ("Test_v2", range(8, 12))):
        for i in indices:
            save(d / f"ISIC-2017_{split}_Data/ISIC_{i:07d}.jpg", photo(i))
            Image.fromarray(photo(i)).save(d / f"ISIC-2017_{split}_Data/ISIC_{i:07d}_superpixels.png")
            save(d / f"ISIC-2017_{split}_Part1_GroundTruth/ISIC_{i:07d}_segmentation.png", grey(disc(i)))
        (d / f"ISIC-2017_{split}_Data/ISIC-2017_{split}_Data_metadata.csv").write_text("image_id,age,sex\n")


def isic_training_alone(d: Path) -> None:
    for i in range(8):
        save(d / f"ISIC2018_Task1-2_Training_Input/ISIC_{i:07d}.jpg", photo(i))
        save(d / f"ISIC2018_Task1_Training_GroundTruth/ISIC_{i:07d}_segmentation.png", grey(disc(i)))
    for name in ("ATTRIBUTION.txt", "LICENSE.txt"):
        (d / "ISIC2018_Task1_Training_GroundTruth" / name).write_text("x")


def busi(d: Path) -> None:
    for which, indices in (("benign", range(4)), ("malignant", range(4, 7)), ("normal", range(7, 10))):
        for n, i in enumerate(indices, 1):
            mask, *more = (np.zeros((SIDE, SIDE), bool),) if which == "normal" else parts(i)[: 1 + n % 2]
            save(d / f"Dataset_BUSI_with_GT/{which}/{which} ({n}).png", photo(i, mask if which == "normal" else None))
            save(d / f"Dataset_BUSI_with_GT/{which}/{which} ({n})_mask.png", grey(mask))
            for k, part in enumerate(more, 1):
                save(d / f"Dataset_BUSI_with_GT/{which}/{which} ({n})_mask_{k}.png", grey(part))


def drive(d: Path) -> None:
    for split, indices in (("training", range(21, 27)), ("test", range(1, 5))):
        for i in indices:
            save(d / f"DRIVE/{split}/images/{i:02d}_{split}.tif", photo(i - 1), photometric="rgb")
            save(d / f"DRIVE/{split}/1st_manual/{i:02d}_manual1.gif", grey(disc(i - 1)))
            save(d / f"DRIVE/{split}/mask/{i:02d}_{split}_mask.gif", np.full((SIDE, SIDE), 255, np.uint8))
            if split == "test":
                save(d / f"DRIVE/{split}/2nd_manual/{i:02d}_manual2.gif", grey(parts(i - 1)[1]))


def dsb2018(d: Path) -> None:
    for i in range(8):
        name = f"{i:02d}ae65c1c6631ae6f2be1c449902976e6eb8483bf6b0740d00530220832c6d3e"
        rgba = np.dstack([photo(i, np.any(parts(i), axis=0)), np.full((SIDE, SIDE), 255, np.uint8)])
        save(d / f"stage1_train/{name}/images/{name}.png", rgba)
        for k, part in enumerate(parts(i)):
            save(d / f"stage1_train/{name}/masks/{k}b{i}a3e3a1a8e4f6b8d2.png", grey(part))
    save(d / "stage1_test/0a1b/images/0a1b.png", photo(30))
    (d / "stage1_train_labels.csv").write_text("ImageId,EncodedPixels\n")


def glas(d: Path) -> None:
    rows = ["name,patient ID,grade (GlaS),grade (Sirinukunwattana et al. 2015)"]
    for split, count in (("train", 6), ("testA", 3), ("testB", 2)):
        for n in range(1, count + 1):
            i = n + 10 * (split != "train") + 10 * (split == "testB")
            glands = np.where(disc(i), 1, 0) + np.where(parts(i)[1], 2, 0)
            save(d / f"Warwick QU Dataset (Released 2016_07_08)/{split}_{n}.bmp", photo(i, glands > 0))
            save(d / f"Warwick QU Dataset (Released 2016_07_08)/{split}_{n}_anno.bmp", glands.astype(np.uint8))
            rows.append(f"{split}_{n},{n % 3}, benign, healthy")
    (d / "Warwick QU Dataset (Released 2016_07_08)/Grade.csv").write_text("\r".join(rows))


def cvc_clinicdb(d: Path) -> None:
    for i in range(1, 9):
        save(d / f"CVC-ClinicDB/Original/{i}.tif", photo(i), photometric="rgb", compression="lzw")
        save(d / f"CVC-ClinicDB/Ground Truth/{i}.tif", grey(disc(i)), photometric="minisblack", compression="lzw")


def monuseg_as_png(d: Path) -> None:
    for i in range(8):
        save(d / f"MoNuSeg/Tissue Images/TCGA-{i:02d}-A7-01Z-00-DX1.png", photo(i, numbered(i) > 0))
        save(d / f"MoNuSeg/Labels/TCGA-{i:02d}-A7-01Z-00-DX1.png", numbered(i))


def oxford_pets(d: Path) -> None:
    for i in range(8):
        save(d / f"images/Abyssinian_{i}.jpg", photo(i))
        trimap = np.where(disc(i), 1, 2).astype(np.uint8)
        trimap[0] = 3
        save(d / f"annotations/trimaps/Abyssinian_{i}.png", trimap)
        (d / f"annotations/trimaps/._Abyssinian_{i}.png").write_bytes(b"\0\5\x16\7")
        (d / "annotations/xmls").mkdir(exist_ok=True)
        (d / f"annotations/xmls/Abyssinian_{i}.xml").write_text("<annotation/>")
    (d / "images/Abyssinian_100.mat").write_bytes(b"MATLAB 5.0")
    (d / "annotations/trainval.txt").write_text("Abyssinian_1 1 1 1\n")


def cellpose(d: Path) -> None:
    for split, count in (("train", 6), ("test", 3)):
        for k in range(count):
            i = k + 12 * (split == "test")
            save(d / f"{split}/{k:03d}_img.png", photo(i, numbered(i) > 0))
            save(d / f"{split}/{k:03d}_masks.png", numbered(i))


def cvat(d: Path) -> None:
    for i in range(8):
        save(d / f"JPEGImages/frame_{i:06d}.jpg", photo(i))
        colours = np.where(disc(i)[..., None], np.uint8([250, 50, 83]), np.uint8(0))
        save(d / f"SegmentationClass/frame_{i:06d}.png", colours)
        save(d / f"SegmentationObject/frame_{i:06d}.png", np.roll(colours, 1, axis=2))
    (d / "ImageSets/Segmentation").mkdir(parents=True)
    (d / "ImageSets/Segmentation/default.txt").write_text("frame_000000\n")
    (d / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n")


def labelme(d: Path) -> None:
    for i in range(8):
        save(d / f"JPEGImages/2011_{i:06d}.jpg", photo(i))
        voc = Image.fromarray(disc(i).astype(np.uint8), "L").convert("P")
        voc.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
        (d / "SegmentationClassPNG").mkdir(exist_ok=True)
        voc.save(d / f"SegmentationClassPNG/2011_{i:06d}.png")
        save(d / f"SegmentationClassVisualization/2011_{i:06d}.jpg", photo(i))
    (d / "SegmentationClass").mkdir()
    (d / "SegmentationClass/2011_000000.npy").write_bytes(b"\x93NUMPY")
    (d / "class_names.txt").write_text("_background_\ncell\n")


def nnunet(d: Path) -> None:
    for i in range(8):
        save(d / f"Dataset120_Cells/imagesTr/cell_{i:03d}_0000.png", photo(i))
        save(d / f"Dataset120_Cells/labelsTr/cell_{i:03d}.png", disc(i).astype(np.uint8))
    save(d / "Dataset120_Cells/imagesTs/cell_020_0000.png", photo(20))
    (d / "Dataset120_Cells/dataset.json").write_text("{}")


def lgg_mri(d: Path) -> None:
    for p in range(4):
        for k in range(1, 4):
            i, stem = 3 * p + k, f"TCGA_CS_494{p}_19960909/TCGA_CS_494{p}_19960909_{k}"
            save(d / f"kaggle_3m/{stem}.tif", photo(i), photometric="rgb")
            save(d / f"kaggle_3m/{stem}_mask.tif", grey(disc(i)), photometric="minisblack")
    (d / "kaggle_3m/data.csv").write_text("Patient,RNASeqCluster\n")


def split_inside(d: Path) -> None:
    for split, indices in (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 11))):
        for i in indices:
            save(d / f"images/{split}/{i}.PNG", photo(i))
            save(d / f"labels/{split}/{i}.png", grey(disc(i)))


# Each with the pairs that it has: by split, the name of an image and the index of its disc.
SETS: dict[str, tuple[Callable[[Path], None], dict[str, str]]] = {
    "Kvasir-SEG": (kvasir_seg, {}),
    "ISIC 2017": (isic, {}),
    "ISIC 2018, training images alone": (isic_training_alone, {}),
    "BUSI": (busi, {}),
    "DRIVE": (drive, {}),
    "DSB2018": (dsb2018, {}),
    "GlaS": (glas, {}),
    "CVC-ClinicDB": (cvc_clinicdb, {}),
    "MoNuSeg as PNG": (monuseg_as_png, {}),
    "Oxford-IIIT Pets": (oxford_pets, {"FOREGROUND": "1"}),
    "Cellpose": (cellpose, {}),
    "CVAT": (cvat, {}),
    "labelme": (labelme, {}),
    "nnU-Net": (nnunet, {}),
    "LGG MRI": (lgg_mri, {}),
    "images/train": (split_inside, {}),
}
SPLITS = {  # images in train, test and testB
    "Kvasir-SEG": (5, 3), "ISIC 2017": (8, 4), "ISIC 2018, training images alone": (5, 3), "BUSI": (7, 3),
    "DRIVE": (6, 4), "DSB2018": (5, 3), "GlaS": (6, 3, 2), "CVC-ClinicDB": (5, 3), "MoNuSeg as PNG": (5, 3),
    "Oxford-IIIT Pets": (5, 3), "Cellpose": (6, 3), "CVAT": (5, 3), "labelme": (5, 3), "nnU-Net": (5, 3),
    "LGG MRI": (6, 6), "images/train": (8, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_a_public_set_is_read_as_downloaded_and_every_pair_is_right(name, tmp_path: Path, capsys):
    make, options = SETS[name]
    make(tmp_path / "set")
    assert main([f"CHECK={tmp_path / 'set'}", "SIZE=40", *(f"{k}={v}" for k, v in options.items())]) == 0, (
        capsys.readouterr()
    )
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 40
    dataset = load_dataset(str(tmp_path / "set"), size=40, foreground=options.get("FOREGROUND", ""))
    assert tuple(len(split) for split in dataset.splits.values()) == SPLITS[name]
    for split in dataset.splits.values():
        for image, mask in zip(split.images, split.masks, strict=True):
            bright = image.mean(axis=2) > 120
            assert (bright ^ mask).mean() < 0.02  # JPEG moves an edge by a pixel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DSB2018", "Oxford-IIIT Pets"])
def test_a_public_set_becomes_a_report_as_downloaded(name, tmp_path: Path, monkeypatch):
    make, options = SETS[name]
    make(tmp_path / "set")
    monkeypatch.setattr("lib._files.REPORTS", tmp_path / "reports")
    given = (f"{key}={value}" for key, value in options.items())
    assert report.main([f"DATASET={tmp_path / 'set'}", "SIZE=40", *QUICK, *given]) == 0
    page = (tmp_path / "reports/set/report.html").read_text()
    assert "divided here, 40% for testing" in page  # the data card says what was decided
    assert "left out: " in page
