"""Importing the Warwick-QU (GlaS) archive.

Members of an archive are read into memory and never extracted, so none can write anywhere.
"""

import csv
import hashlib
import io
import json
import re
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from lib._errors import Problem, UserError, reason
from lib._files import ROOT, cores, lock, publish, recover, unlock
from lib.data.dataset import SIZE, check_size
from lib.data.folders import Row, read_table
from lib.data.images import read_image, read_mask, resize_image, resize_mask, size_text
from lib.data.reading import first_of

OFFICIAL = {"train": 85, "testA": 60, "testB": 20}  # pairs, as published
FOLDERS = {"train": "Train", "testA": "Test", "testB": "TestB"}
WANTED = re.compile(r"(train|testA|testB)_[1-9]\d{0,3}(_anno)?\.bmp|Grade\.csv")
LARGEST, LARGEST_SUM = 64 * 2**20, 2**31  # bytes of one file and of all; in the original 1.2 and 270 million
MARK = "imported by lib.importing"  # in the manifest of what may be replaced
Members = dict[str, Callable[[], bytes]]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def open_archive(archive: Path) -> Iterator[Members]:
    """Lends what reads each wanted file of a zip or an unpacked folder, by its name without folders.

    Raises:
        Problem: not a zip; or for any member: a path that leads outside, a link, a password, too large, twice there.
    """
    if archive.is_dir():
        files = [path for path in sorted(archive.rglob("*")) if path.is_symlink() or path.is_file()]
        entries = [(str(p.relative_to(archive)), p.lstat().st_mode, p.lstat().st_size, p.read_bytes) for p in files]
        yield _choose(archive, entries)
        return
    try:
        opened = zipfile.ZipFile(archive)
    except Exception as error:  # zipfile raises nearly anything for damaged files
        raise Problem(archive, "a zip file or an unpacked folder", reason(error)) from error
    with opened:
        for info in opened.infolist():
            path = PurePosixPath(info.filename.replace("\\", "/"))
            if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", info.filename):
                raise Problem(f"{archive}: {info.filename}", "a path inside the archive", "one that leads outside")
            if info.flag_bits & 1:
                raise Problem(f"{archive}: {info.filename}", "a file without password", "one with")
        infos = [info for info in opened.infolist() if not info.is_dir()]
        yield _choose(
            archive, [(i.filename, i.external_attr >> 16, i.file_size, partial(opened.read, i)) for i in infos]
        )


def _choose(archive: Path, entries: Sequence[tuple[str, int, int, Callable[[], bytes]]]) -> Members:
    """Returns the wanted ones of (path, mode, bytes, function that reads it)."""
    if (total := sum(size for _, _, size, _ in entries)) > LARGEST_SUM:
        raise Problem(archive, f"at most {LARGEST_SUM} bytes unpacked", total)
    members: Members = {}
    for path, mode, size, read in entries:
        name = PurePosixPath(path).name
        if stat.S_ISLNK(mode):
            raise Problem(f"{archive}: {path}", "a file", "a link")
        if size > LARGEST:
            raise Problem(f"{archive}: {path}", f"at most {LARGEST} bytes", size)
        if name in members:
            raise Problem(f"{archive}: {path}", f"one file called {name}", "another one")
        if WANTED.fullmatch(name):
            members[name] = read
    return members


def _read(archive: Path, members: Members, name: str) -> bytes:
    try:
        return members[name]()
    except KeyError:
        raise Problem(archive, f"a file {name}", "none") from None
    except Exception as error:  # what zipfile and its decompressors raise
        raise Problem(f"{archive}: {name}", "a readable file", reason(error)) from error


def read_grades(archive: Path, data: bytes, names: Sequence[str]) -> dict[str, Row]:
    """Returns the rows of Grade.csv by name ("train_1"); raises Problem for what is wrong with it."""
    problems: list[Problem] = []
    rows = read_table(f"{archive}: Grade.csv", data, ("name", "patient ID", "grade (GlaS)"), 1, problems)
    grades = {name: row for (name,), row in rows.items()}
    for name in names:
        if name not in grades:
            problems.append(Problem(f"{archive}: Grade.csv", f"a row for {name}", "none"))
    if problems:
        raise UserError(first_of(problems))
    return grades


def _convert(archive: Path, members: Members, size: int, name: str) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Returns original height and width of a pair, SHA-256 of its sources by name, and the PNGs of its results."""
    contents = {f"{name}{kind}.bmp": _read(archive, members, f"{name}{kind}.bmp") for kind in ("", "_anno")}
    (image_name, image_data), (mask_name, mask_data) = contents.items()
    image, _ = read_image(io.BytesIO(image_data), f"{archive}: {image_name}")
    mask = read_mask(io.BytesIO(mask_data), f"{archive}: {mask_name}", objects=True).foreground
    if image.shape[:2] != mask.shape:
        raise Problem(f"{archive}: {mask_name}", f"its image's size, {size_text(image)}", size_text(mask))
    shape, pngs = (size, size), []
    for pixels in (resize_image(image, shape), resize_mask(mask, shape).astype(np.uint8) * 255):
        Image.fromarray(pixels).save(png := io.BytesIO(), "png")
        pngs.append(png.getvalue())
    return mask.shape, {"sources": {file: _sha256(data) for file, data in contents.items()}, "pngs": pngs}


def import_archive(archive: Path, size: int = SIZE, data: Path = ROOT / "data") -> Path:
    """Writes the pairs of the official archive as PNG, with images.csv and manifest.json (SHA-256 of all files).

    Args:
        archive: the zip file, or the folder it was unpacked to.
        size: side of the squares in pixels, even, 16 to 1024.
        data: where to write: to warwick/ if the archive holds as many pairs as the official one (with or without
            testB), otherwise to warwick-partial/. What is there is replaced only if it is as an import left it.

    Returns:
        The folder, with Train, Test (testA) and TestB. The same archive gives the same bytes.

    Raises:
        UserError: naming the first thing that is not as expected; nothing is replaced then.
    """
    check_size(size)
    if not archive.exists():
        raise Problem(f"ARCHIVE={archive}", "the Warwick-QU archive, a zip or a folder", "nothing")
    with open_archive(archive) as members, _alone(data) as scratch:
        found = {name.removesuffix(".bmp").removesuffix("_anno") for name in members} - {"Grade.csv"}
        names = [f"{split}_{i}" for split in OFFICIAL for i in range(1, 10_000) if f"{split}_{i}" in found]
        counts = {split: sum(name.startswith(f"{split}_") for name in names) for split in OFFICIAL}
        for split in ("train", "testA"):
            if not counts[split]:
                raise Problem(archive, f"pairs {split}_1.bmp, {split}_1_anno.bmp and so on", "none")
        target = data / ("warwick" if counts in (OFFICIAL, {**OFFICIAL, "testB": 0}) else "warwick-partial")
        _check_replaceable(target)
        grade = _read(archive, members, "Grade.csv")
        grades = read_grades(archive, grade, names)
        with ThreadPoolExecutor(min(8, cores())) as pool:
            converting = pool.map(partial(_convert, archive, members, size), names)
            pairs = list(tqdm(converting, "importing", len(names), unit="pair"))
        if target.name == "warwick-partial":
            ours, theirs = (" + ".join(map(str, count.values())) for count in (counts, OFFICIAL))
            print(f"note: {ours} pairs, where the official archive has {theirs}: a part of it", file=sys.stderr)

        table, results, sources = io.StringIO(), {"images.csv": b""}, {"Grade.csv": _sha256(grade)}
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow(("name", "split", "patient", "grade", "height", "width"))
        for name, (original, made) in zip(names, pairs, strict=True):
            folder, stem = FOLDERS[name.split("_")[0]], f"{int(name.split('_')[1]):02d}"
            split = folder[0].lower() + folder[1:]
            rows.writerow((f"image_{stem}", split, grades[name]["patient ID"], grades[name]["grade (GlaS)"], *original))
            results |= {
                f"{folder}/{k}_{stem}.png": png for k, png in zip(("image", "label"), made["pngs"], strict=True)
            }
            sources |= made["sources"]
        results["images.csv"] = table.getvalue().encode()
        hashes = {path: _sha256(content) for path, content in results.items()}
        manifest = {"made": MARK, "size": size, "sources": sources, "results": hashes}
        results["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
        for path, content in results.items():  # images.csv first: the report refuses it until every image is there
            (scratch / "new" / path).parent.mkdir(parents=True, exist_ok=True)
            (scratch / "new" / path).write_bytes(content)
        publish(scratch / "new", target)
    return target


def _check_replaceable(target: Path) -> None:
    """Raises UserError unless there is nothing, or exactly what an import has written."""
    if not target.exists() and not target.is_symlink():
        return
    try:
        manifest = json.loads((target / "manifest.json").read_bytes())
        files = {p.relative_to(target).as_posix(): p for p in target.rglob("*") if p.is_symlink() or not p.is_dir()}
        files.pop("manifest.json")
        ours = manifest["made"] == MARK and not target.is_symlink()
        if ours and {path: _sha256(file.read_bytes()) for path, file in files.items()} == manifest["results"]:
            return
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise Problem(target, "an unchanged import or nothing", "something else; move it away")


@contextmanager
def _alone(data: Path) -> Iterator[Path]:
    """Lends a temporary folder to the only import at work, after clearing away what a killed one left."""
    if (held := lock(data / ".import")) is None:
        raise Problem(data, "to import alone", "another import at work")
    try:
        for name in ("warwick", "warwick-partial"):
            recover(data / name)
        for left in data.glob(".import-*"):
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=".import-", dir=data) as scratch:
            yield Path(scratch)
    finally:
        unlock(held)
