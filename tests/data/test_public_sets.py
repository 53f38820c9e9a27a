"""Structural copies of public sets, tiny, under the names and in the formats in which they are published."""

from collections.abc import Callable, Iterable
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


def fov(i: int) -> np.ndarray:
    return np.full((SIDE, SIDE), 255, np.uint8)


def other(i: int) -> np.ndarray:
    """Another observer's mask, or another structure's."""
    return np.roll(grey(disc(i)), 1, 0)


def both_parts(i: int) -> np.ndarray:
    return photo(i, np.any(parts(i), axis=0))


def cells(i: int) -> np.ndarray:
    return photo(i, numbered(i) > 0)


def mask(i: int) -> np.ndarray:
    return grey(disc(i))


def part(which: int) -> Callable[[int], np.ndarray]:
    return lambda i: parts(i)[which]


def classes(i: int) -> np.ndarray:
    """Numbers of classes; 1 is the image's disc, and 2 lies in pieces."""
    labels = disc(i).astype(np.uint8)
    labels[0, ::7] = 2
    return labels


def colours(i: int) -> np.ndarray:
    """Thirty colours; 0x400080 is the image's disc."""
    drawn = np.zeros((SIDE, SIDE, 3), np.uint8)
    drawn[0, :29, 0] = range(1, 30)
    drawn[disc(i)] = 64, 0, 128
    return drawn


def stack(i: int) -> np.ndarray:
    return np.stack([mask(i)] * 5)


Drawn = Callable[[int], np.ndarray] | None  # None: a file that is no picture


def files(names: dict[str, Drawn], numbers: Iterable[int] = range(8)) -> Callable[[Path], None]:
    """Returns what makes a set: for each number and name a file; {p} is its patient, {k} which of four."""

    def make(d: Path) -> None:
        for i in numbers:
            for name, drawn in names.items():
                path = d / name.format(i=i, p=i // 4 + 1, k=i % 4, side="LR"[i % 2], half=i // 2)
                if drawn:
                    save(path, drawn(i))
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"x")

    return make


def several(*makers: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda d: [make(d) for make in makers]  # type: ignore[return-value]


def halves(train: dict[str, Drawn], test: dict[str, Drawn]) -> Callable[[Path], None]:
    return several(files(train, range(6)), files(test, range(6, 9)))


# Each with what it needs and how many images are in train, test and testB.
SETS: dict[str, tuple[Callable[[Path], None], dict[str, str], tuple[int, ...]]] = {
    "Kvasir-SEG": (kvasir_seg, {}, (5, 3)),
    "ISIC 2017": (isic, {}, (8, 4)),
    "ISIC 2018, training images alone": (isic_training_alone, {}, (5, 3)),
    "BUSI": (busi, {}, (6, 4)),
    "DRIVE": (drive, {}, (6, 4)),
    "DSB2018": (dsb2018, {}, (5, 3)),
    "GlaS": (glas, {}, (6, 3, 2)),
    "CVC-ClinicDB": (cvc_clinicdb, {}, (5, 3)),
    "MoNuSeg as PNG": (monuseg_as_png, {}, (5, 3)),
    "Oxford-IIIT Pets": (oxford_pets, {"FOREGROUND": "1"}, (5, 3)),
    "Cellpose": (cellpose, {}, (6, 3)),
    "CVAT": (cvat, {}, (5, 3)),
    "labelme": (labelme, {}, (5, 3)),
    "nnU-Net": (nnunet, {}, (5, 3)),
    "LGG MRI": (lgg_mri, {}, (6, 6)),
    "images/train": (split_inside, {}, (8, 3)),
    # Polyps, skin, ultrasound
    "CVC-ClinicDB as PNG and TIFF": (files({
        f"{suffix.upper()}/{kind}/{{i}}.{suffix}": drawn for suffix in ("png", "tif")
        for kind, drawn in (("Original", photo), ("Ground Truth", mask))} | {"metadata.csv": None}), {}, (5, 3)),
    "ETIS-Larib": (files({"ETIS/ETIS-LaribPolypDB/{i}.tif": photo, "ETIS/Ground Truth/p{i}.tif": mask}), {}, (5, 3)),
    "EndoScene": (files({"CVC-300/bbdd/{i}.bmp": photo, "CVC-300/gtpolyp/{i}.bmp": mask,
                         "CVC-300/gtlumen/{i}.bmp": other, "CVC-300/contourgt/{i}.bmp": other}), {}, (5, 3)),
    "PraNet's split of polyps": (halves(
        {"TrainDataset/image/{i}.png": photo, "TrainDataset/masks/{i}.png": mask},
        {"TestDataset/Kvasir/images/{i}.png": photo, "TestDataset/Kvasir/masks/{i}.png": mask}), {}, (6, 3)),
    "HyperKvasir": (files({"segmented-images/images/{i}.jpg": photo, "segmented-images/masks/{i}.jpg": mask,
                           "segmented-images/bounding-boxes.json": None}), {}, (5, 3)),
    "PolypGen": (files({"data_C{p}/images_C{p}/C{p}_{i}.jpg": photo, "data_C{p}/masks_C{p}/C{p}_{i}_mask.jpg": mask,
                        "data_C{p}/annotatedImages_C{p}/C{p}_{i}.jpg": photo}, range(12)), {}, (7, 5)),
    "PH2": (files({
        f"PH2 Dataset images/IMD{{i:03d}}/IMD{{i:03d}}_{kind}/IMD{{i:03d}}{suffix}.bmp": drawn for kind, suffix, drawn
        in (("Dermoscopic_Image", "", photo), ("lesion", "_lesion", disc), ("roi", "_R1_Label2", other))
    } | {"PH2_dataset.txt": None}), {}, (5, 3)),
    "ISIC 2016": (halves(*(
        {f"ISBI2016_ISIC_Part1_{which}_Data/ISIC_{{i:07d}}.jpg": photo,
         f"ISBI2016_ISIC_Part1_{which}_GroundTruth/ISIC_{{i:07d}}_Segmentation.png": mask}
        for which in ("Training", "Test"))), {}, (6, 3)),
    "HAM10000": (files({"HAM10000_images_part_{p}/ISIC_{i:07d}.jpg": photo, "HAM10000_metadata.csv": None,
                        "HAM10000_segmentations_lesion_tschandl/ISIC_{i:07d}_segmentation.png": mask}), {}, (5, 3)),
    "BUS-BRA": (files({"Images/bus_{half:04d}-{side}.png": photo, "Masks/mask_{half:04d}-{side}.png": mask}),
                {}, (5, 3)),
    "TN3K": (halves({"trainval-image/{i:04d}.jpg": photo, "trainval-mask/{i:04d}.jpg": mask},
                    {"test-image/{i:04d}.jpg": photo, "test-mask/{i:04d}.jpg": mask}), {}, (6, 3)),
    "Ultrasound nerves": (several(
        files({"train/{p}_{k}.tif": photo, "train/{p}_{k}_mask.tif": mask}), files({"test/{i}.tif": photo}, range(4)),
    ), {}, (5, 3)),
    "Foot ulcers": (several(
        halves(*({f"{which}/images/{{i:04d}}.png": photo, f"{which}/labels/{{i:04d}}.png": mask}
                 for which in ("train", "validation"))), files({"test/images/{i:04d}.png": photo}, range(9, 12)),
    ), {}, (6, 3)),
    # Eyes and lungs
    "STARE": (files({"stare-images/im{i:04d}.ppm": photo, "labels-ah/im{i:04d}.ah.ppm": mask,
                     "labels-vk/im{i:04d}.vk.ppm": other}), {}, (5, 3)),
    "CHASE_DB1": (files({"CHASE/Image_{half:02d}{side}.jpg": photo, "CHASE/Image_{half:02d}{side}_1stHO.png": disc,
                         "CHASE/Image_{half:02d}{side}_2ndHO.png": other}), {}, (5, 3)),
    "HRF": (files({"images/{i:02d}_dr.JPG": photo, "manual1/{i:02d}_dr.tif": mask, "mask/{i:02d}_dr_mask.tif": fov}),
            {}, (5, 3)),
    "FIVES": (halves(*({f"{which}/Original/{{i}}_A.png": photo, f"{which}/Ground truth/{{i}}_A.png": mask}
                       for which in ("train", "test"))), {}, (6, 3)),
    "DCA1": (files({"Database_134_Angiograms/{i}.pgm": lambda i: photo(i)[..., 0],
                    "Database_134_Angiograms/{i}_gt.pgm": mask}), {}, (5, 3)),
    "Montgomery": (files({
        "CXR_png/MCUCXR_{i:04d}_0.png": both_parts, "ManualMask/leftMask/MCUCXR_{i:04d}_0.png": part(0),
        "ManualMask/rightMask/MCUCXR_{i:04d}_0.png": part(1), "ClinicalReadings/MCUCXR_{i:04d}_0.txt": None}),
        {}, (5, 3)),
    "Shenzhen": (several(files({"CXR_png/CHNCXR_{i:04d}_0.png": photo, "mask/CHNCXR_{i:04d}_0_mask.png": mask}),
                         files({"CXR_png/CHNCXR_{i:04d}_1.png": photo}, range(8, 10))), {}, (5, 3)),
    "JSRT": (files({"images/JPCLN{i:03d}.png": both_parts, "masks/left lung/JPCLN{i:03d}.gif": part(0),
                    "masks/right lung/JPCLN{i:03d}.gif": part(1)}), {}, (5, 3)),
    # Cells and tissue
    "TNBC": (files({"Slide_{p:02d}/{p:02d}_{k}.png": photo, "GT_{p:02d}/{p:02d}_{k}.png": mask}, range(12)),
             {}, (8, 4)),
    "CRAG": (halves(*(
        {f"CRAG/{which}/Images/{{i}}.png": cells, f"CRAG/{which}/Annotation/{{i}}.png": numbered,
         f"CRAG/{which}/Overlay/{{i}}.png": photo} for which in ("train", "valid"))), {}, (6, 3)),
    "NuInsSeg": (files({
        f"NuInsSeg/human organ{{p}}/{kind}/human_{{p}}_{{k}}.{suffix}": drawn for kind, suffix, drawn in (
            ("tissue images", "png", photo), ("mask binary", "png", mask), ("label masks", "tif", other),
            ("label masks modify", "tif", other), ("mask binary without border", "png", other),
            ("distance maps", "png", other), ("overlay", "png", photo), ("vague areas/mask binary", "png", other),
            ("Imagej_zips", "zip", None))}, range(12)), {}, (8, 4)),
    "CryoNuSeg": (files({"tissue images/Human_{i}.tif": photo} | {
        f"Annotator 1/{kind}/Human_{{i}}.{suffix}": drawn for kind, suffix, drawn in (
            ("mask binary", "png", mask), ("label masks", "tif", other), ("label masks modify", "tif", other))}),
        {}, (5, 3)),
    "BBBC039": (files({"images/IXMtest_A{i:02d}_s1_w1.tif": cells, "masks/IXMtest_A{i:02d}_s1_w1.png": lambda i:
                       np.dstack([numbered(i), 0 * numbered(i), 0 * numbered(i)]).astype(np.uint8)}), {}, (5, 3)),
    "BBBC005": (several(files({"BBBC005_images/A{i:02d}_w1.TIF": photo, "BBBC005_ground_truth/A{i:02d}_w1.TIF": mask}),
                        files({"BBBC005_images/B{i:02d}_w1.TIF": photo})), {}, (5, 3)),
    "Cell Tracking Challenge": (several(*(
        several(files({f"{s}/t{{i:03d}}.tif": cells, f"{s}_ST/SEG/man_seg{{i:03d}}.tif": other,
                       f"{s}_GT/TRA/man_track{{i:03d}}.tif": other}, range(9)),
                files({f"{s}_GT/SEG/man_seg{{i:03d}}.tif": numbered}, (2, 3, 4))) for s in ("01", "02"))), {}, (3, 3)),
    "DeepBacs": (halves(*({f"{which}/source/{{i}}.tif": photo, f"{which}/target/{{i}}.tif": mask}
                          for which in ("training", "test"))), {}, (6, 3)),
    "Cellpose's results": (files({"{i}.png": cells, "{i}_cp_masks.png": numbered, "{i}_cp_outlines.png": photo,
                                  "{i}_flows.tif": photo, "{i}_seg.npy": None}), {}, (5, 3)),
    "Janowczyk's nuclei": (files({"nuclei/{p}_f{i:05d}_original.tif": photo, "nuclei/{p}_f{i:05d}_mask.png": mask}),
                           {}, (5, 3)),
    "UCSB": (files({"Images/ytma{i}_benign1_ccd.tif": photo, "Masks/ytma{i}_benign1.TIF": mask}), {}, (5, 3)),
    "CVPPP": (files({"A1/plant{i:03d}_rgb.png": cells, "A1/plant{i:03d}_label.png": numbered,
                     "A1/plant{i:03d}_centers.png": mask}), {}, (5, 3)),
    # Exports of tools, and masks of classes
    "CamVid": (several(*(
        files({f"{which}/0001TP_{{i}}.png": photo, f"{which}_labels/0001TP_{{i}}_L.png": colours}, numbers)
        for which, numbers in (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 11))))),
        {"FOREGROUND": "0x400080"}, (8, 3)),
    "SICAPv2": (files({"images/16B_{i}_Block.jpg": photo, "masks/16B_{i}_Block.png": classes,
                       "partition/Test/Train.xlsx": None}), {"FOREGROUND": "1"}, (5, 3)),
    "VOC with images without masks": (several(
        files({"JPEGImages/{i}.jpg": photo, "SegmentationClass/{i}.png": classes, "SegmentationObject/{i}.png": other}),
        files({"JPEGImages/{i}.jpg": photo}, range(8, 12))), {"FOREGROUND": "1"}, (5, 3)),
    "Roboflow": (halves(*({f"{which}/c{{i}}_jpg.rf.5f{{i}}.jpg": photo, f"{which}/c{{i}}_jpg.rf.5f{{i}}_mask.png": disc,
                           f"{which}/_classes.csv": None} for which in ("train", "valid"))), {}, (6, 3)),
    "Supervisely": (files({"ds0/img/{i}.png": photo, "ds0/ann/{i}.png.json": None, "ds0/masks_machine/{i}.png": disc,
                           "ds0/masks_human/{i}.png": photo, "meta.json": None}), {}, (5, 3)),
    "QuPath": (files({"s{p} [x={i},y=0,w=512,h=512].tif": photo, "s{p} [x={i},y=0,w=512,h=512]-labelled.png": mask}),
               {}, (5, 3)),
}  # fmt: skip
# Sets that are refused, with what is said: where the masks are, or what to do.
REFUSED: dict[str, tuple[dict[str, Drawn], str]] = {
    "Medical Decathlon": ({"imagesTr/h_{i}.nii.gz": None, "labelsTr/h_{i}.nii.gz": None}, ".nii.gz files are volumes"),
    "PanNuke": ({"Fold {i}/images/images.npy": None, "Fold {i}/masks/masks.npy": None}, "each image and each mask"),
    "CoNSeP": ({"Train/Images/{i}.png": photo, "Train/Labels/{i}.mat": None, "Train/Overlay/{i}.png": photo},
               ".mat files are arrays"),
    "MoNuSeg": ({"Tissue Images/{i}.tif": photo, "Annotations/{i}.xml": None}, ".xml files are perhaps outlines"),
    "MoNuSAC": ({"TCGA-{p}/{i}.tif": photo, "TCGA-{p}/{i}.svs": None, "TCGA-{p}/{i}.xml": None}, "export masks as PNG"),
    "LIVECell": ({"images/A172/{i}.tif": photo, "annotations/coco_train.json": None}, ".json files are perhaps"),
    "labelme's JSON": ({"{i}.jpg": photo, "{i}.json": None}, ".json files are perhaps outlines"),
    "YOLO": ({"train/images/{i}.jpg": photo, "train/labels/{i}.txt": None}, ".txt files are perhaps outlines"),
    "EM stacks": ({"train-volume.tif": stack, "train-labels.tif": stack, "test-volume.tif": stack}, "save each plane"),
    "an image and its mask of one name in one folder": (
        {"{i}.bmp": photo, "{i}.png": mask}, "16 pictures of which none are called masks"),
    "two structures": ({"images/{i}.png": photo, "lung masks/{i}.png": other, "infection masks/{i}.png": mask},
                       "infection masks/0.png and lung masks/0.png"),
    "two structures by name": ({"images/{i}.jpg": photo, "gt/{i}_MA.tif": mask, "gt/{i}_EX.tif": other},
                               "16 x expected an image of its name"),
    "colours": ({"images/{i}.png": photo, "masks/{i}.png": colours}, "FOREGROUND=0x400080, say"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_set_that_is_refused_is_told_what_to_do(name, tmp_path: Path, capsys):
    names, said = REFUSED[name]
    files(names)(tmp_path / "set")
    assert main([f"CHECK={tmp_path / 'set'}"]) == 2
    out = capsys.readouterr().out
    assert said in out
    assert len(out.splitlines()) < 30


@pytest.mark.parametrize("name", SETS)
def test_a_public_set_is_read_as_downloaded_and_every_pair_is_right(name, tmp_path: Path, capsys):
    make, options, counts = SETS[name]
    make(tmp_path / "set")
    assert main([f"CHECK={tmp_path / 'set'}", "SIZE=40", *(f"{k}={v}" for k, v in options.items())]) == 0, (
        capsys.readouterr()
    )
    out = capsys.readouterr().out
    assert len(out.splitlines()) <= 40
    dataset = load_dataset(str(tmp_path / "set"), size=40, foreground=options.get("FOREGROUND", ""))
    assert tuple(len(split) for split in dataset.splits.values()) == counts
    for split in dataset.splits.values():
        for image, mask in zip(split.images, split.masks, strict=True):
            bright = image.mean(axis=2) > 120
            assert (bright ^ mask).mean() < 0.02  # JPEG moves an edge by a pixel


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DSB2018", "Oxford-IIIT Pets"])
def test_a_public_set_becomes_a_report_as_downloaded(name, tmp_path: Path, monkeypatch):
    make, options, _ = SETS[name]
    make(tmp_path / "set")
    monkeypatch.setattr("lib._files.REPORTS", tmp_path / "reports")
    given = (f"{key}={value}" for key, value in options.items())
    assert report.main([f"DATASET={tmp_path / 'set'}", "SIZE=40", *QUICK, *given]) == 0
    page = (tmp_path / "reports/set/report.html").read_text()
    assert "divided here, 40% for testing" in page  # the data card says what was decided
    assert "left out: " in page
