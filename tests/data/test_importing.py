"""Importing an archive of the official layout, the tricks an archive can play, and `make data`."""

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lib._errors import Problem, UserError
from lib._files import ROOT
from lib.data.__main__ import main
from lib.data.reading import load_dataset
from lib.data.warwick import import_archive, read_grades

INNER = "Warwick QU Dataset (Released 2016_07_08)"
FULL = {"train": 85, "testA": 60, "testB": 20}
FEW = {"train": 3, "testA": 2, "testB": 1}


def bmp(array: np.ndarray) -> bytes:
    Image.fromarray(array).save(file := io.BytesIO(), "bmp")
    return file.getvalue()


def official(counts: dict[str, int], height: int = 40, width: int = 60) -> dict[str, bytes]:
    """Files by path, as published: masks number the glands, Grade.csv ends lines in CR and pads values."""
    rng = np.random.default_rng(0)
    glands = np.zeros((height, width), np.uint8)
    glands[: height // 2, : width // 2] = 1
    glands[height // 2 :, width // 2 :] = 2
    files, rows = {}, ["name,patient ID,grade (GlaS),grade (Sirinukunwattana et al. 2015)"]
    for split, count in counts.items():
        for number in range(1, count + 1):
            files[f"{INNER}/{split}_{number}.bmp"] = bmp(rng.integers(0, 256, (height, width, 3), np.uint8))
            files[f"{INNER}/{split}_{number}_anno.bmp"] = bmp(glands)
            rows.append(f"{split}_{number},{number % 16}, benign, healthy")
    return files | {f"{INNER}/Grade.csv": "\r".join(rows).encode()}


def zipped(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return zipped(official(FEW), tmp_path / "few.zip")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("counts", [FULL, {"train": 85, "testA": 60}])
def test_the_official_archive_becomes_a_dataset(counts, tmp_path: Path):
    folder = import_archive(zipped(official(counts), tmp_path / "a.zip"), data=tmp_path / "data")
    assert folder == tmp_path / "data" / "warwick"
    dataset = load_dataset(str(folder))
    assert [len(split) for split in dataset.splits.values()] == list(counts.values())
    assert dataset.image_size == (128, 128)
    assert dataset.train.names[:2] == ("image_01", "image_02")
    assert dataset.train.patients[:2] == ("1", "2")
    assert dataset.train.original_sizes[0] == (40, 60)
    assert set(dataset.test.grades) == {"benign"}
    assert [path.name for path in (tmp_path / "data").iterdir() if not path.name.startswith(".")] == ["warwick"]


def test_images_are_averaged_masks_go_by_majority_and_glands_become_one_value(tmp_path: Path):
    files = official(FEW, 64, 128)
    image = np.zeros((64, 128, 3), np.uint8)
    image[:2, :4] = np.array([[0, 40, 80, 120], [8, 48, 88, 128]])[..., None]
    mask = np.zeros((64, 128), np.uint8)
    mask[:2, :4] = [1, 2, 3, 0]  # three of four columns in the first pixel of 4x2
    mask[:2, 4:8] = [7, 7, 0, 0]
    mask[2:, :] = 19
    files |= {f"{INNER}/train_2.bmp": bmp(image), f"{INNER}/train_2_anno.bmp": bmp(mask)}
    folder = import_archive(zipped(files, tmp_path / "a.zip"), size=32, data=tmp_path)
    made = np.asarray(Image.open(folder / "Train/image_02.png"))
    assert made[0, 0].tolist() == [64, 64, 64]  # the mean of 0 .. 128
    assert made.sum() == 3 * 64
    label = np.asarray(Image.open(folder / "Train/label_02.png"))
    assert label[0].tolist() == [255, 0] + [0] * 30
    assert np.unique(label[1:]).tolist() == [255]


@pytest.mark.parametrize("inner", ["", "x/", "a b/ü/"])
def test_the_inner_folder_may_be_called_anything_and_be_unpacked(inner, few: Path, tmp_path: Path):
    files = {inner + name.removeprefix(INNER + "/"): content for name, content in official(FEW).items()}
    for name, content in files.items():
        (tmp_path / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "unpacked" / name).write_bytes(content)
    sources = few, zipped(files, tmp_path / "b.zip"), tmp_path / "unpacked"
    made = [contents(import_archive(source, data=tmp_path / "data")) for source in sources]
    assert made[0] == made[1] == made[2]


def test_table_and_manifest_say_what_was_made_of_what(few: Path, tmp_path: Path, capsys):
    folder = import_archive(few, data=tmp_path)
    rows = list(csv.reader((folder / "images.csv").read_text().splitlines()))
    assert rows == [
        ["name", "split", "patient", "grade", "height", "width"],
        ["image_01", "train", "1", "benign", "40", "60"],
        ["image_02", "train", "2", "benign", "40", "60"],
        ["image_03", "train", "3", "benign", "40", "60"],
        ["image_01", "test", "1", "benign", "40", "60"],
        ["image_02", "test", "2", "benign", "40", "60"],
        ["image_01", "testB", "1", "benign", "40", "60"],
    ]
    manifest = json.loads((folder / "manifest.json").read_text())
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents(folder).items()}
    assert manifest["results"] == {name: value for name, value in hashes.items() if name != "manifest.json"}
    sources = {name.split("/")[1]: hashlib.sha256(content).hexdigest() for name, content in official(FEW).items()}
    assert manifest["sources"] == sources
    assert manifest["size"] == 128
    assert folder.name == "warwick-partial"
    assert "note: 3 + 2 + 1 pairs, where the official archive has 85 + 60 + 20: a part of it" in capsys.readouterr().err


def with_info(path: Path, name: str, change: Callable[[zipfile.ZipInfo], None], content: bytes = b"x") -> None:
    info = zipfile.ZipInfo(name)
    change(info)
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        archive.writestr(info, content)


def as_link(info: zipfile.ZipInfo) -> None:
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def unchanged(info: zipfile.ZipInfo) -> None:
    pass


def patched(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))


def rewritten(change: dict[str, bytes | None]) -> Callable[[Path], None]:
    """Writes the archive anew with other contents of some files; None leaves a file out."""

    def write(path: Path) -> None:
        files = official(FEW) | {f"{INNER}/{name}": content for name, content in change.items()}
        zipped({name: content for name, content in files.items() if content is not None}, path)

    return write


def encrypted(path: Path) -> None:
    """Sets the flag that says so, in the central directory and before each member."""
    data = bytearray(path.read_bytes())
    for signature, at in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        for match in re.finditer(re.escape(signature), bytes(data)):
            data[match.start() + at] |= 1
    path.write_bytes(data)


def claiming(size: int) -> Callable[[Path], None]:
    """Lets the central directory claim another size for its first member."""

    def write(path: Path) -> None:
        data = bytearray(path.read_bytes())
        at = data.index(b"PK\x01\x02")
        data[at + 24 : at + 28] = size.to_bytes(4, "little")
        path.write_bytes(data)

    return write


def zip_in_zip(path: Path) -> None:
    inner = path.read_bytes()
    zipped({"inner.zip": inner}, path)


def bomb(path: Path) -> None:
    with_info(path, "zeros", lambda info: setattr(info, "compress_type", zipfile.ZIP_DEFLATED), bytes(65 * 2**20))


def grade(old: str, new: str) -> Callable[[Path], None]:
    table = official(FEW)[f"{INNER}/Grade.csv"].decode()
    assert old in table
    return rewritten({"Grade.csv": table.replace(old, new).encode()})


rgb, one = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), np.uint8)
BROKEN = {
    "no zip": (
        lambda p: p.write_text("hello"),
        r"few.zip: expected a zip file or an unpacked folder, found File is .*",
    ),
    "zero bytes": (lambda p: p.write_bytes(b""), r"few.zip: expected a zip file .*, found File is not a zip file"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-40]), r"few.zip: expected a zip file .*, found .+"),
    "half": (lambda p: p.write_bytes(p.read_bytes()[:9000]), r"few.zip: expected a zip file .*, found File is not .*"),
    "damaged member": (
        lambda p: p.write_bytes(p.read_bytes()[:300] + b"\xff" * 50 + p.read_bytes()[350:]),
        r"few.zip: train_1.bmp: expected a readable file, found .+",
    ),
    "parent folder": (
        lambda p: with_info(p, "../evil.bmp", unchanged),
        r"few.zip: ../evil.bmp: expected a path inside the archive, found one that leads outside",
    ),
    "parent folder within": (
        lambda p: with_info(p, "a/../../train_9.bmp", unchanged),
        r"a/../../train_9.bmp: expected a path inside the archive, found one that leads outside",
    ),
    "absolute path": (
        lambda p: with_info(p, "/tmp/evil.bmp", unchanged),
        r"/tmp/evil.bmp: expected a path inside the archive, found one that leads outside",
    ),
    "drive": (
        lambda p: with_info(p, "C:/evil.bmp", unchanged),
        r"C:/evil.bmp: expected a path inside the archive, found one that leads outside",
    ),
    "backslashes": (
        lambda p: with_info(p, "..\\evil.bmp", unchanged),
        r"..\\evil.bmp: expected a path inside the archive, found one that leads outside",
    ),
    "link": (
        lambda p: with_info(p, "x/train_9.bmp", as_link, b"/etc/passwd"),
        r"x/train_9.bmp: expected a file, found a link",
    ),
    "link of another name": (lambda p: with_info(p, "x", as_link), r"x: expected a file, found a link"),
    "one name twice": (
        lambda p: with_info(p, f"{INNER}/train_1.bmp", unchanged),
        r"train_1.bmp: expected one file called train_1.bmp, found another one",
    ),
    "one name in two folders": (
        lambda p: with_info(p, "copy/testA_1_anno.bmp", unchanged),
        r"copy/testA_1_anno.bmp: expected one file called testA_1_anno.bmp, found another one",
    ),
    "bomb": (bomb, r"zeros: expected at most 67108864 bytes, found 68157440"),
    "more bytes than claimed": (claiming(9), r"few.zip: train_1.bmp: expected a readable (file|image), found .+"),
    "4 GB claimed": (claiming(2**32 - 2), r"few.zip: expected at most 2147483648 bytes unpacked, found 42.*"),
    "password": (encrypted, r"train_1.bmp: expected a file without password, found one with"),
    "zip in a zip": (zip_in_zip, r"few.zip: expected pairs train_1.bmp, train_1_anno.bmp and so on, found none"),
    "no file": (lambda p: zipped({}, p), r"few.zip: expected pairs train_1.bmp, .*, found none"),
    "no test image": (
        rewritten({f"testA_{i}{kind}.bmp": None for i in (1, 2) for kind in ("", "_anno")}),
        r"few.zip: expected pairs testA_1.bmp, testA_1_anno.bmp and so on, found none",
    ),
    "image without mask": (
        rewritten({"train_2_anno.bmp": None}),
        r"few.zip: expected a file train_2_anno.bmp, found none",
    ),
    "mask without image": (rewritten({"testB_1.bmp": None}), r"few.zip: expected a file testB_1.bmp, found none"),
    "no Grade.csv": (rewritten({"Grade.csv": None}), r"few.zip: expected a file Grade.csv, found none"),
    "empty Grade.csv": (
        rewritten({"Grade.csv": b""}),
        r"Grade.csv: expected the columns name, patient ID, grade \(GlaS\), once each, found none",
    ),
    "garbled Grade.csv": (
        rewritten({"Grade.csv": b"\xff\xfe\x00\x01"}),
        r"Grade.csv: expected a table in CSV and UTF-8, found 'utf-8' codec .*",
    ),
    "Grade.csv with other columns": (
        grade("patient ID", "patient"),
        r"Grade.csv: expected the columns .*, found name.*",
    ),
    "Grade.csv without an image": (
        grade("train_2,2, benign, healthy\r", ""),
        r"few.zip: Grade.csv: expected a row for train_2, found none",
    ),
    "Grade.csv without a patient": (
        grade("train_2,2,", "train_2, ,"),
        r"Grade.csv: expected a value for patient ID in row 3, found none; and 1 more",
    ),
    "Grade.csv with a short row": (
        grade("train_2,2, benign, healthy", "train_2,2, benign"),
        r"Grade.csv: expected 4 values in row 3, found 3; and 1 more",
    ),
    "Grade.csv with a row twice": (
        grade("train_2,2", "train_1,2"),
        r"Grade.csv: expected one row for train_1, found another in row 3; and 1 more",
    ),
    "text as an image": (
        rewritten({"train_2.bmp": b"hello"}),
        r"few.zip: train_2.bmp: expected a readable image, found no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000",
    ),
    "image cut short": (
        rewritten({"train_2.bmp": bmp(rgb)[:3000]}),
        r"few.zip: train_2.bmp: expected a readable image, found image file is truncated.*",
    ),
    "image of no bytes": (rewritten({"train_2.bmp": b""}), r"train_2.bmp: expected a readable image, found no PNG.*"),
    "mask of another size": (
        rewritten({"train_2_anno.bmp": bmp(one[:30])}),
        r"train_2_anno.bmp: expected its image's size, 60x40 pixels, found 60x30 pixels",
    ),
    "mask in colour": (
        rewritten({"train_2_anno.bmp": bmp(np.arange(7200, dtype=np.uint8).reshape(40, 60, 3))}),
        r"few.zip: train_2_anno.bmp: expected a mask of two colours, black and another, found \d+, as JPEG",
    ),
    "bitmap of 1 pixel": (
        rewritten({"train_2.bmp": bmp(rgb[:1, :1]), "train_2_anno.bmp": bmp(one[:1, :1])}),
        r"train_2.bmp: expected at least 8x8 pixels, found 1x1 pixels",
    ),
    "bitmap that claims to be huge": (
        rewritten({"train_2.bmp": bmp(rgb)[:18] + (60000).to_bytes(4, "little") * 2 + bmp(rgb)[26:]}),
        r"train_2.bmp: expected at most 89 million pixels; cut it into tiles, found 60000x60000",
    ),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_archive_is_refused_in_one_line_and_loses_nothing(damage, few: Path, tmp_path: Path):
    data = tmp_path / "data"
    import_archive(few, data=data)
    before = contents(data)
    break_it, message = BROKEN[damage]
    break_it(few)
    files = set(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        import_archive(few, data=data)
    assert "\n" not in str(caught.value)
    assert contents(data) == before
    assert set(tmp_path.rglob("*")) == files


@pytest.mark.parametrize("target", ["few.bmp", "nowhere"])
def test_links_in_an_unpacked_folder_are_refused(target, tmp_path: Path):
    for name, content in official(FEW).items():
        (tmp_path / "un" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "un" / name).write_bytes(content)
    (tmp_path / "un" / "link").symlink_to(target)
    with pytest.raises(UserError, match=r"un: link: expected a file, found a link"):
        import_archive(tmp_path / "un", data=tmp_path / "data")


@pytest.mark.parametrize(
    "change",
    [
        lambda d: (d / "mine.txt").write_text("mine"),
        lambda d: (d / "Train/image_01.png").write_bytes(b"edited"),
        lambda d: (d / "Train/label_01.png").unlink(),
        lambda d: (d / "manifest.json").unlink(),
        lambda d: (d / "manifest.json").write_text("{}"),
        lambda d: (d / "manifest.json").write_text("[]"),
        lambda d: (d / "Train/link").symlink_to("/etc"),
        lambda d: (d.rename(d.with_name("elsewhere")), d.symlink_to("elsewhere")),
        lambda d: (d.rename(d.with_name("elsewhere")), d.symlink_to("nowhere")),
        lambda d: (d.rename(d.with_name("elsewhere")), d.write_text("a file")),
        lambda d: (d.rename(d.with_name("elsewhere")), d.mkdir()),
    ],
)
def test_what_is_not_an_unchanged_import_is_never_replaced(change, few: Path, tmp_path: Path):
    data = tmp_path / "data"
    change(import_archive(few, data=data))
    before = contents(data)
    with pytest.raises(
        UserError, match=r"warwick-partial: expected an unchanged import or nothing, found something else"
    ):
        import_archive(few, data=data)
    assert contents(data) == before


def test_an_unchanged_import_is_replaced(few: Path, tmp_path: Path):
    import_archive(few, data=tmp_path / "data")
    folder = import_archive(few, size=64, data=tmp_path / "data")
    assert load_dataset(str(folder)).image_size == (64, 64)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["warwick-partial"]


KILLED = """
import os, sys
from pathlib import Path
from lib.data import warwick
calls, write = 0, Path.write_bytes
def dying(path, content):
    global calls
    calls += 1
    if calls > int(sys.argv[3]):
        os.kill(os.getpid(), 9)
    return write(path, content)
Path.write_bytes = dying
warwick.import_archive(Path(sys.argv[1]), data=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("files_written", [0, 1, 6, 12])
def test_a_killed_import_leaves_nothing_that_the_report_accepts(files_written, few: Path, tmp_path: Path):
    data = tmp_path / "data"
    command = (sys.executable, "-c", KILLED, few, data, str(files_written))
    process = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert process.returncode == -signal.SIGKILL
    left = [path for path in data.rglob("*") if path.is_dir() and not path.name.startswith("T")]  # a part is a whole
    assert left
    for folder in left:
        with pytest.raises(UserError):
            load_dataset(str(folder))
    import_archive(few, data=data)
    assert sorted(path.name for path in data.iterdir()) == ["warwick-partial"]


def test_an_import_killed_between_its_two_renames_gives_the_old_one_back(few: Path, tmp_path: Path):
    data = tmp_path / "data"
    folder = import_archive(few, data=data)
    before = contents(folder)
    folder.rename(data / ".warwick-partial.old")
    few.write_bytes(zipped(official(FEW) | {f"{INNER}/train_1.bmp": b""}, few).read_bytes())
    with pytest.raises(UserError, match=r"train_1.bmp: expected a readable image"):
        import_archive(few, data=data)
    assert contents(folder) == before


def test_a_second_import_at_the_same_time_is_refused(few: Path, tmp_path: Path):
    import fcntl

    with (tmp_path / ".import.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="expected to import alone, found another import at work"):
            import_archive(few, data=tmp_path)


@given(st.binary())
def test_bytes_that_are_no_table_are_a_mistake_of_the_user(data):
    with pytest.raises(UserError, match=r"^a.zip: Grade.csv: expected .*\Z"):  # a row for train_1, if nothing else
        read_grades(Path("a.zip"), data, ["train_1"])


value = st.text(st.characters(categories=["L", "N"]), min_size=1)


@given(st.dictionaries(st.integers(1, 99), st.tuples(value, value), min_size=1), st.integers(0, 3))
def test_grades_with_bare_cr_and_padding_are_read(expected, padding):
    pad = " " * padding
    lines = [f"train_{number},{pad}{patient}{pad},{pad}{glas},{pad}x" for number, (patient, glas) in expected.items()]
    data = "\r".join(["name,patient ID,grade (GlaS),other", *lines]).encode()
    grades = read_grades(Path("a.zip"), data, [f"train_{number}" for number in expected])
    assert {name: (row["patient ID"], row["grade (GlaS)"]) for name, row in grades.items()} == {
        f"train_{number}": row for number, row in expected.items()
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: make data: expected either ARCHIVE=FILE or CHECK=DIR\n"),
        (["ARCHIVE=a", "CHECK=b"], "error: make data: expected either ARCHIVE=FILE or CHECK=DIR\n"),
        (["CHEK=a"], "error: CHEK: unknown; did you mean CHECK?\n"),
        (["QQ=a"], "error: QQ: unknown; known: ARCHIVE, CHECK, FOREGROUND, PICTURES, SIZE\n"),
        (["CHECK=/no/such"], "error: CHECK=/no/such: expected a folder, found none\n"),
        (["CHECK=data", "SIZE=x"], "error: SIZE=x: expected an even number from 16 to 1024, found 'x'\n"),
        (["ARCHIVE=/no", "SIZE=127"], "error: SIZE=127: expected an even number from 16 to 1024, found '127'\n"),
        (["ARCHIVE=/no"], "error: ARCHIVE=/no: expected the Warwick-QU archive, a zip or a folder, found nothing\n"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    assert capsys.readouterr() == ("", message)


def test_check_answers_four_questions_of_a_folder_with_problems(folder: Path, capsys):
    for number in range(4):
        (folder / f"Train/label_{number:02d}.png").unlink()
    (folder / "Test/image_00.png").write_bytes(b"")
    (folder / "notes.txt").write_text("x")
    assert main([f"CHECK={folder}"]) == 2
    out, err = capsys.readouterr()
    kinds = [
        "1 x expected a readable image: Test/image_00.png (no PNG, JPEG, TIFF, BMP, GIF, WebP or JPEG 2000)",
        "4 x expected a mask of its name: Train/image_00.png, Train/image_01.png, Train/image_02.png and 1 more (none)",
    ]
    text = re.sub(r"Read as:\n(  .*\n)+", "", out)
    assert text == "\n".join(
        ["Left out:", "  notes.txt", "Wrong:", *(f"  {kind}" for kind in kinds), "Next:",
         "  mend what is wrong, and check again", ""]
    )  # fmt: skip
    assert err == f"error: {folder}: expected a dataset without problems, found 5, listed above\n"


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training set", "test set")])
def test_check_tells_once_of_test_images_without_masks_and_divides_the_others(train, test, folder: Path, capsys):
    for mask in (folder / "Test").glob("label_*"):
        mask.unlink()
    (folder / "Train").rename(folder / train)
    (folder / "Test").rename(folder / test)
    assert main([f"CHECK={folder}"]) == 0
    out = capsys.readouterr().out
    assert f"Left out:\n  images without masks: 6 in {test}/\nWrong:" in out
    assert out.count("without masks") == 1
    assert "\n  splits: divided here, 40% for testing, whole groups together\n" in out


def test_check_of_a_good_folder_says_what_is_in_it(few: Path, tmp_path: Path, capsys):
    folder = import_archive(few, data=tmp_path)
    (folder / "TestB/image_01.png").write_bytes((folder / "Train/image_01.png").read_bytes())
    capsys.readouterr()
    picture = tmp_path / "pairs.png"
    assert main([f"CHECK={folder}", f"PICTURES={picture}"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "Read as:",
        "images: 6 in Test/, TestB/, Train/",
        "masks: 6 in Test/, TestB/, Train/",
        "pairs: one name but for words such as image_ and label_",
        "groups: 3 in images.csv",
        "mask rule: 6 of two values",
        "original sizes: 60x40",
        "images size foreground from to",
        "train 3 128x128 0.50 0.50 0.50",
        "test 2 128x128 0.50 0.50 0.50",
        "testB 1 128x128 0.50 0.50 0.50",
        "equal images: train/image_01, testB/image_01",
        "patients or groups in both train and test: 1, 2",
        "patients or groups in both train and testB: 1",
        "patients or groups in both test and testB: 1",
        "Left out:",
        "manifest.json",
        "Wrong:",
        "nothing",
        "Next:",
        f"look at {picture}",
        f"make report DATASET={folder}",
    ]
    drawn = np.asarray(Image.open(picture))
    assert drawn.shape == (2 * 274, 4 * 260, 3)  # six pairs, four in a row, each under its name
    assert ((drawn == (255, 255, 0)).all(axis=2)).sum() > 6 * 128  # outlines
    assert [(drawn[top : top + 14, 260 * column : 260 * column + 90] < 128).any() for top, column in
            ((0, 0), (0, 3), (274, 0), (274, 1), (274, 2))] == [True, True, True, True, False]  # fmt: skip


def test_check_counts_what_it_does_not_show_and_sorts_patients_as_numbers(folder: Path, capsys):
    for number in range(5):
        shutil.copy(folder / f"Train/image_{number:02d}.png", folder / f"Test/image_{number:02d}.png")
    rows = [f"image_{i:02d},train,{i + 6}\n" for i in range(10)] + [f"image_{i:02d},test,{i + 7}\n" for i in range(6)]
    (folder / "images.csv").write_text("".join(["name,split,patient\n", *rows]))
    assert main([f"CHECK={folder}"]) == 0
    out = capsys.readouterr().out
    assert "  equal images: train/image_02, test/image_02\n  equal images: 2 more times\n" in out
    assert "  patients or groups in both train and test: 7, 8, 9, 10, 11, 12\n" in out


def test_make_data_runs_the_command_and_refuses_what_is_not_its_own():
    make = ("make", "-s", "-C", ROOT, "data", f"PYTHON={sys.executable}")
    process = subprocess.run((*make, "CHECK=/no/such it's"), capture_output=True, text=True)
    assert process.returncode == 2
    assert "error: CHECK=/no/such it's: expected a folder, found none" in process.stderr
    process = subprocess.run((*make, "SEEDS=3"), capture_output=True, text=True)
    assert process.returncode == 2
    assert "error: SEEDS: unknown" in process.stderr


def test_a_problem_is_one_line_whatever_the_name():
    assert str(Problem("a\nb\udcff.png", "this", "that\r\n")) == r"a\nb\udcff.png: expected this, found that\r\n"
    assert os.fsencode(str(Problem("ü", "ß", "日"))).decode() == "ü: expected ß, found 日"
