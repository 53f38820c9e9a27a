"""Keeping large datasets as arrays, so that their images are decoded once."""

import hashlib
import json
import shutil
import sys
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL

from lib._files import ROOT
from lib.data.folders import Pair

CODE = Path(__file__).resolve().parent
CACHE = ROOT / "data" / "cache"
KEPT = 3  # datasets: a change of files or parameters makes another


def key_of(pairs: Sequence[Pair], size: int | None, stain: str) -> str:
    """Returns a hash of all that decides the pixels: files as the system describes them, parameters, and our code."""
    files = [(str(f), s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p in pairs for f in p[2:4] for s in [f.stat()]]
    code = b"".join((CODE / f"{module}.py").read_bytes() for module in ("reading", "images", "folders", "stain"))
    splits = [(pair.split, pair.name) for pair in pairs]
    decisive = repr((files, splits, size, stain, PIL.__version__, np.__version__)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(decisive + code).hexdigest()[:32]


def _description(array: np.ndarray) -> list[Any]:
    return [list(array.shape), array.dtype.str, zlib.crc32(np.ascontiguousarray(array).data)]


def read(key: str) -> tuple[np.ndarray, np.ndarray, dict[str, Any]] | None:
    """Returns images and masks as files mapped into memory, and the rest; None where it is not there or damaged."""
    folder = CACHE / key
    if not folder.exists():
        return None
    try:
        checksum, text = (folder / "index.json").read_text().split("\n", 1)
        index = json.loads(text)
        # "c": what is written stays in memory, so that torch gets the writable array it wants.
        images, masks = (np.load(folder / f"{name}.npy", mmap_mode="c") for name in ("images", "masks"))
        if int(checksum) == zlib.crc32(text.encode()) and index["arrays"] == [_description(a) for a in (images, masks)]:
            folder.touch()
            return images, masks, index
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        pass
    print(f"data/cache/{key}: damaged, read again from the images", file=sys.stderr)
    return None


def write(key: str, images: np.ndarray, masks: np.ndarray, index: dict[str, Any]) -> None:
    """Stores a dataset, whole or not at all, and deletes what was not used for longest."""
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=CACHE) as scratch:
            new = Path(scratch) / key
            new.mkdir()
            np.save(new / "images.npy", images)
            np.save(new / "masks.npy", masks)
            text = json.dumps({**index, "arrays": [_description(images), _description(masks)]})
            (new / "index.json").write_text(f"{zlib.crc32(text.encode())}\n{text}")
            shutil.rmtree(CACHE / key, ignore_errors=True)
            new.rename(CACHE / key)
        for old in sorted(CACHE.iterdir(), key=lambda folder: -folder.stat().st_mtime)[KEPT:]:
            shutil.rmtree(old, ignore_errors=True)
    except OSError as error:  # a full disk, say: the images are read, only slower the next time
        print(f"data/cache: not written ({error.strerror})", file=sys.stderr)
