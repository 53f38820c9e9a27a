"""Loading a dataset: the embedded set, or a folder of images and masks."""

import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8
from tqdm import tqdm

from lib._errors import Problem, UserError, reason
from lib._files import ROOT, cores
from lib.data import cache
from lib.data.dataset import SIDES, SIZE, STAINS, SYNTHETIC, Dataset, Split, check_size
from lib.data.folders import Pair, find_pairs
from lib.data.images import read_image, read_mask, read_size, resize_image, resize_mask, size_text
from lib.data.stain import unmixed
from lib.data.synthetic import draw_dataset

MANY = 500  # images, of which progress is shown; fewer are read in a second


def load_dataset(
    source: str, *, size: int | None = None, stain: str = "rgb", test_fraction: float = 0.4, key: str = ""
) -> Dataset:
    """Draws the embedded set or reads a folder, once: it is kept in data/cache until a file or a parameter changes.

    A folder (relative ones are looked up from the project's) holds one of:

    - Train/ and Test/, and TestB/ if wanted, each with pairs image_NN.png and label_NN.png; patients in images.csv
      (name, split, patient; one row an image, split is train, test or testB) if known. Images that all have one size
      with even height and width stay as they are, unless `size` is given. The Warwick-QU images' own Grade.csv
      (name, patient ID) is understood as well.
    - train/ and test/ (and testb/), each with images/ and masks/ that hold files of the same stem, patients as before.
    - images/ and masks/ alone: divided here, whole groups together where groups.csv (name, group) tells them.

    Pictures are PNG, JPEG, TIFF or BMP of 8 or 16 bits; `lib.data.images` says how grey, palette, alpha and 16 bits
    become RGB. Masks have one channel and two values, the lower of which is 0; single masks may be all background or
    all foreground, those of the training split together may not.

    Args:
        source: "synthetic", or the folder.
        size: side in pixels of the squares that images are resized to, even, 16 to 1024; None is 128. Images are
            averaged over areas, masks decided by majority; proportions are not kept. The embedded set is drawn larger.
        stain: "rgb", or "unmixed" for haematoxylin, eosin and the rest as channels (see `lib.data.stain.unmix`), scaled
            by their 1st and 99th percentile over the training split.
        test_fraction: share of the images, above 0 and below 1, for testing where the folder does not say.
        key: of the dataset that is meant, `Dataset.key`, whatever has become of its files since; "" reads them.

    Raises:
        UserError: naming the first thing that is not as expected, and how many more there are; or the dataset of this
            key is no longer kept and its files have changed.
    """
    if size is not None:
        check_size(size)
    if stain not in STAINS:
        raise UserError(f"STAIN={stain}: expected {' or '.join(STAINS)}, found {stain!r}")
    if not 0 < test_fraction < 1:
        raise UserError(f"TEST_FRACTION={test_fraction}: expected a number above 0 and below 1, found {test_fraction}")
    if key and (kept := cache.read(key, stain)):
        return kept
    if stain == "unmixed":
        colours = load_dataset(source, size=size, test_fraction=test_fraction, key=key)
        return cache.read(colours.key, stain) or cache.write(unmixed(colours))
    if source == SYNTHETIC:
        dataset = _draw(size or SIZE)
    else:
        folder = ROOT / Path(source).expanduser()
        if not folder.is_dir():
            raise UserError(f"DATASET={source}: expected 'synthetic' or a folder of images, found no such folder")
        read, problems = read_folder(folder, size, test_fraction)
        if read is None:
            raise UserError(first_of(problems, f"; make data CHECK={shlex.quote(source)} lists all"))
        dataset = read
    if key not in ("", dataset.key):
        raise UserError(f"DATASET={source}: expected the files that the report began with, found them changed")
    return dataset


def _draw(size: int) -> Dataset:
    key = cache.key_of(SYNTHETIC, size)
    return cache.read(key, "rgb") or cache.write(Dataset(SYNTHETIC, *draw_dataset(size=size), key=key))


def first_of(problems: Sequence[Problem], hint: str = "") -> str:
    """Returns the first problem, how many more there are, and in that case what to do about it."""
    return f"{problems[0]}" + (f"; and {len(problems) - 1} more{hint}" if len(problems) > 1 else "")


def read_folder(
    folder: Path, size: int | None = None, test_fraction: float = 0.4
) -> tuple[Dataset | None, list[Problem]]:
    """Reads a folder as `load_dataset` says; returns everything that is wrong with it, and a dataset if nothing is."""
    problems: list[Problem] = []
    try:
        pairs = find_pairs(folder, test_fraction, problems)
    except OSError as error:  # a folder may be listed, but not entered
        return None, [*problems, Problem(error.filename or folder, "a path that can be read", reason(error))]
    key = "" if problems else _key_of(pairs, size)
    if key and (kept := cache.read(key, "rgb")):
        return kept, []
    with ThreadPoolExecutor(min(8, cores())) as pool:  # decoders let other threads run
        images, masks, sizes = _read_pairs(pool, pairs, size, problems)
    n_train = sum(pair.split == "train" for pair in pairs)
    if not problems:
        problems += _check_training(folder, images[:n_train], masks[:n_train])
        if key != _key_of(pairs, size):
            problems.append(Problem(folder, "files that stay as they are while they are read", "some that changed"))
    if problems:
        return None, sorted(problems, key=lambda problem: (problem.file, problem.expected, problem.found))
    return cache.write(_assemble(folder, pairs, images, masks, sizes, key)), []


def _key_of(pairs: Sequence[Pair], size: int | None) -> str:
    """Returns the key of what a folder holds: its pairs, and their files as the system describes them."""
    files = [(s.st_size, s.st_mtime_ns, s.st_ctime_ns) for pair in pairs for f in pair[2:4] for s in [f.stat()]]
    return cache.key_of([tuple(map(str, pair)) for pair in pairs], files, size)


def _assemble(
    folder: Path,
    pairs: Sequence[Pair],
    images: np.ndarray,
    masks: np.ndarray,
    sizes: Sequence[tuple[int, int]],
    key: str,
) -> Dataset:
    splits, start = {}, 0
    for which in ("train", "test", "testB"):  # in which order the pairs come
        ours = [pair for pair in pairs if pair.split == which]
        part = slice(start, start := start + len(ours))
        splits[which] = Split(
            names=tuple(pair.name for pair in ours),
            images=images[part],
            masks=masks[part],
            patients=None if any(pair.group is None for pair in ours) else tuple(str(pair.group) for pair in ours),
            original_sizes=tuple(p.original or s for p, s in zip(ours, sizes[part], strict=True)),
        )
    test_b = splits["testB"] if splits["testB"] else None
    return Dataset(folder.resolve().name, splits["train"], splits["test"], test_b, key=key)


def _read_pairs(
    pool: ThreadPoolExecutor, pairs: Sequence[Pair], size: int | None, problems: list[Problem]
) -> tuple[UInt8[np.ndarray, "image height width 3"], Bool[np.ndarray, "image height width"], list[tuple[int, int]]]:
    """Returns images, masks and original sizes; what could not be read is left empty and added to the problems."""
    shape = (size or SIZE,) * 2
    if size is None and all(pair.image.parent == pair.mask.parent for pair in pairs):  # the first layout
        native = {known for known in pool.map(read_size, [pair.image for pair in pairs]) if known}
        only = native.pop() if len(native) == 1 else (1, 1)
        if not any(side % 2 for side in only):
            shape = only
            if not all(side in SIDES for side in shape):
                sizes_found = f"{shape[1]}x{shape[0]} pixels; give SIZE={SIZE}, say"
                problems.append(
                    Problem(pairs[0].image.parent, f"sides from {SIDES[0]} to {SIDES[-1]} pixels", sizes_found)
                )
                return np.zeros((0, 0, 0, 3), np.uint8), np.zeros((0, 0, 0), np.bool_), []
    images, masks = np.zeros((len(pairs), *shape, 3), np.uint8), np.zeros((len(pairs), *shape), np.bool_)

    def read(index: int) -> tuple[tuple[int, int], list[Problem]]:
        pair, found, pixels = pairs[index], [], []
        for reader, file in ((read_image, pair.image), (read_mask, pair.mask)):
            try:
                pixels.append(reader(file, file))
            except Problem as problem:
                found.append(problem)
        if found:
            return (0, 0), found
        image, mask = pixels
        if mask.shape != image.shape[:2]:
            return (0, 0), [Problem(pair.mask, f"its image's size, {size_text(image)}", size_text(mask))]
        images[index], masks[index] = resize_image(image, shape), resize_mask(mask, shape)
        return (image.shape[0], image.shape[1]), []

    few = len(pairs) < MANY
    read_ones = tqdm(pool.map(read, range(len(pairs))), "reading", len(pairs), unit="image", disable=few)
    sizes = []
    for original, found in read_ones:
        sizes.append(original)
        problems.extend(found)
    return images, masks, sizes


def _check_training(folder: Path, images: np.ndarray, masks: np.ndarray) -> list[Problem]:
    """Finds what makes training pointless although every single file is fine."""
    found = []
    if masks.all() or not masks.any():
        every = "only foreground" if masks.all() else "none"
        found.append(Problem(folder, "foreground and background in the training masks", every))
    if images.max(initial=0) < 16:
        expected = "training images that use 0..255"
        found.append(Problem(folder, expected, f"nothing above {images.max(initial=0)}"))
    return found
