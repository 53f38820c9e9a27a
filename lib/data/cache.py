"""Keeping datasets as arrays, so that images are decoded once and all processes of a report share their memory."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np
import PIL
import scipy

from lib._files import ROOT
from lib.data.dataset import Dataset, Split

CODE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("REPORT_CACHE", ROOT / "data" / "cache"))
LARGEST = 4 * 2**30  # bytes of all datasets: those not used for longest go; the newest stays whatever its size


def key_of(*decisive: object) -> str:
    """Returns a hash of what decides a dataset: what is given, the code of this room, versions of libraries."""
    code = b"".join(module.read_bytes() for module in sorted(CODE.glob("*.py")))
    given = repr((decisive, PIL.__version__, np.__version__, scipy.__version__)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(given + code).hexdigest()[:32]


def _folder(key: str, stain: str) -> Path:
    return CACHE / (key if stain == "rgb" else f"{key}-{stain}")


def _checksum(folder: Path, index: str) -> int:
    """Returns a checksum of all that is kept of a dataset: its arrays' files, and the index of what is beside them."""
    checksum = zlib.crc32(index.encode())
    for file in sorted(folder.glob("*.npy")):
        checksum = zlib.crc32(file.name.encode(), checksum)
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                checksum = zlib.crc32(block, checksum)
    return checksum


def read(key: str, stain: str) -> Dataset | None:
    """Returns a dataset whose arrays are files mapped into memory; None where it is not there or damaged."""
    folder = _folder(key, stain)
    if not folder.exists():
        return None
    try:
        checksum, index = (folder / "index.json").read_text().split(" ", 1)
        if int(checksum) == _checksum(folder, index):
            (name, notes, sha256, told), splits = json.loads(index), {}
            for which, (names, *known) in told.items():
                # "c": what is written stays in memory, so that torch gets the writable array it wants.
                images, masks = (np.load(folder / f"{which}-{kind}.npy", mmap_mode="c") for kind in ("images", "masks"))
                patients, sizes, grades = (values and tuple(values) for values in known)
                splits[which] = Split(tuple(names), images, masks, patients, sizes and tuple(map(tuple, sizes)), grades)
            three = splits["train"], splits["test"], splits.get("testB")
            dataset = Dataset(name, *three, stain=stain, key=key, notes=tuple(notes))
            dataset.__dict__["sha256"] = sha256  # where cached_property looks first: hashing takes seconds
            folder.touch()
            return dataset
    except (OSError, ValueError):
        pass
    print(f"data/cache/{folder.name}: damaged, made again", file=sys.stderr)
    return None


def write(dataset: Dataset) -> Dataset:
    """Stores a dataset, whole or not at all, deletes what was not used for longest, and returns the dataset."""
    target = _folder(dataset.key, dataset.stain)
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=CACHE) as scratch:
            new = Path(scratch) / target.name
            new.mkdir()
            for which, split in dataset.splits.items():
                np.save(new / f"{which}-images.npy", split.images)
                np.save(new / f"{which}-masks.npy", split.masks)
            told = {n: (of.names, of.patients, of.original_sizes, of.grades) for n, of in dataset.splits.items()}
            index = json.dumps([dataset.name, dataset.notes, dataset.sha256, told])
            (new / "index.json").write_text(f"{_checksum(new, index)} {index}")
            shutil.rmtree(target, ignore_errors=True)
            new.rename(target)
        size = 0
        for folder in sorted(CACHE.iterdir(), key=lambda folder: -folder.stat().st_mtime):
            size += sum(file.stat().st_size for file in folder.iterdir())
            if size > LARGEST and folder != target:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:  # a full disk, say: the images are read, only slower the next time
        print(f"data/cache: not written ({error.strerror})", file=sys.stderr)
    return dataset
