"""`python -m lib.report.predict IMAGES=DIR [OUT=DIR] [NAME=report]`: masks of any pictures by a report's network."""

import csv
import json
import sys
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import mean
from threading import Event

import numpy as np
import torch
from jaxtyping import Bool, UInt8
from PIL import Image
from scipy import ndimage
from torch import nn
from tqdm import tqdm

from lib import _files
from lib._errors import UserError, did_you_mean, printable, run_command
from lib.data.dataset import SYNTHETIC
from lib.data.images import SUFFIXES, bits_used, read_image, resize_image, resize_mask, told_bits
from lib.evaluation import THRESHOLD
from lib.recipe import Recipe
from lib.runs.store import from_bytes
from lib.training import Precision, TrainingConfig, as_input, build_network, thread_count

KNOWN = ("IMAGES", "OUT", "NAME")
COLUMNS = ("image", "width", "height", "foreground", "objects")
TILE, OVERLAP = 512, 128  # pixels of a tile, and of what it shares with each neighbour, whose outer half is thrown away
PIXELS_AT_ONCE = 40_000_000  # of all pictures that are segmented at one time: a gigabyte
OUTLINE = (240, 228, 66)


def load_network(report: Path) -> tuple[nn.Module, Precision, tuple[float, float], str]:
    """Returns a report's best network, its precision, by how much its training images were scaled (y, x), and its name.

    The best is that of the variant with the highest Dice on test images, as a mean over its runs; of these it is the
    first, so that none is chosen for its luck. It computes in the precision that it was trained in.

    Raises:
        UserError: the folder is no report, one without weights and their configurations, or another version's.
    """
    models = report / "models"
    try:
        kept = json.loads((models / "configurations.json").read_bytes())
        results = json.loads((report / "results.json").read_bytes())
        variants = results["variants"] | results["side"].get("possible", {})
        dice = {
            name: mean(run["test"]["dice"] or 0.0 for run in of["runs"])
            for name, of in variants.items()
            if any(model.startswith(f"{name}-seed-") for model in kept["models"])
        }
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"reports/{report.name}: expected a report with models/configurations.json, found none; make report first"
        ) from None
    if kept["stain"] != "rgb":
        raise UserError(f"reports/{report.name}: expected a report of STAIN=rgb, found {kept['stain']}; make one")
    best = max(dice, key=dice.__getitem__)
    name = next(name for name in kept["models"] if name.startswith(f"{best}-seed-"))
    settings = kept["models"][name]
    try:
        config = Recipe(**settings) if "augmentation" in settings else TrainingConfig(**settings)
        network = build_network(config)
        network.load_state_dict(from_bytes((models / name).read_bytes()))
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"reports/{report.name}: expected networks of this version, found others or damaged ones; make it again"
        ) from None
    down, across = kept["scale"]
    told = (
        f"{variants[best]['label']} ({name}), whose mean Dice on test images is the report's highest, {dice[best]:.3f}"
    )
    return network.eval(), config.precision, (down, across), told


@torch.inference_mode()
def foreground_of(
    network: nn.Module, precision: Precision, image: UInt8[np.ndarray, "height width 3"], stop: Event
) -> Bool[np.ndarray, "height width"]:
    """Returns where the probability of foreground exceeds THRESHOLD, tile by tile; ends before the next on `stop`."""
    height, width = image.shape[:2]
    mask, step, margin = np.zeros((height, width), dtype=bool), TILE - OVERLAP, OVERLAP // 2
    tops, lefts = (range(0, max(side - OVERLAP, 1), step) for side in (height, width))
    for top in tops:
        for left in lefts:
            if stop.is_set():
                raise CancelledError
            tile = image[top : top + TILE, left : left + TILE]
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                found = network(as_input(torch.from_numpy(tile[None].copy())))[0].numpy() > THRESHOLD
            y, x = (margin if start else 0 for start in (top, left))  # what the tile before knows better
            mask[top + y : top + TILE, left + x : left + TILE] = found[y:, x:]
    return mask


def pictures_of(given: str) -> list[Path]:
    """Returns the pictures of a folder by name; raises UserError where there is none, or two would share a mask."""
    folder = _files.user_path(given)
    if not given or not folder.is_dir():
        raise UserError(f"IMAGES={printable(given)}: expected a folder of pictures, found none")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not files:
        raise UserError(f"IMAGES={printable(given)}: expected pictures ({', '.join(SUFFIXES)}), found none")
    stems = [path.stem.lower() for path in files]
    if twice := [path for path in files if stems.count(path.stem.lower()) > 1]:
        found = " and ".join(printable(path.name) for path in twice[:2])
        raise UserError(f"IMAGES={printable(given)}: expected names that differ before the suffix, found {found}")
    return files


def _survey(files: Sequence[Path]) -> tuple[list[int], int]:
    """Returns how many bits each picture of more than 8 uses, and the pixels of the largest picture.

    Raises:
        Problem: one of all cannot be read, which is better known before the first mask than after the last.
    """
    deep, largest = [], 0
    for file in files:
        picture, _ = read_image(file, file.name)
        largest = max(largest, picture.shape[0] * picture.shape[1])
        if picture.dtype == np.uint16:
            deep.append(bits_used([picture]))
    return deep, largest


def predict_folder(arguments: Sequence[str]) -> Path:
    """Writes masks, overlays and a table into a new folder and returns it.

    An image is scaled as the training images were on average, segmented, and its mask scaled back to its own size.

    Raises:
        UserError: for an unknown variable, a folder that is not there or is in the way, a picture that cannot be read.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    for name in given:
        if name not in KNOWN:
            raise UserError(f"{name}: unknown variable; {did_you_mean(name, KNOWN)}")
    files = pictures_of(given.get("IMAGES", ""))
    source = files[0].parent
    out = _files.user_path(given["OUT"]) if given.get("OUT") else source.with_name(f"{source.resolve().name}-masks")
    if out.exists() or out.is_symlink():
        raise UserError(f"OUT={printable(out.name)}: expected nothing there, found something; choose another with OUT=")
    report = given.get("NAME") or SYNTHETIC
    if Path(report).name != report:
        raise UserError(f"NAME={printable(report)}: expected the name of a report, found a path")
    network, precision, scale, told = load_network(_files.REPORTS / report)
    print(f"network: {told}")
    of_deep, largest = _survey(files)
    bits = max(of_deep, default=8)
    if of_deep:  # all are scaled by one number, as training images are
        print(told_bits(f"{len(of_deep)} pictures", bits))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.mkdir()
    except OSError as error:
        raise UserError(f"OUT={printable(out.name)}: expected a folder that can be made, {error.strerror}") from None
    stop = Event()
    segment = partial(_one, network, precision, scale, bits, out, stop)
    at_once = min(_files.cores(), max(PIXELS_AT_ONCE // largest, 1))
    # A picture a core, since two threads on one picture wait for each other: on a busy machine ten times as long.
    with thread_count(1), ThreadPoolExecutor(at_once) as pool:
        try:
            with (out / "table.csv").open("w", newline="", encoding="utf-8") as table:
                write = csv.writer(table)
                write.writerow(COLUMNS)
                for row in tqdm(pool.map(segment, files), desc="masks", unit="image", total=len(files)):
                    write.writerow(row)
        except BaseException:  # a folder that is there is whole
            stop.set()
            pool.shutdown(cancel_futures=True)
            _files.delete(out)
            raise
    return out


def _one(
    network: nn.Module,
    precision: Precision,
    scale: tuple[float, float],
    bits: int,
    out: Path,
    stop: Event,
    file: Path,
) -> tuple[str, int, int, str, int]:
    """Writes mask and overlay of one picture, and returns its row of the table; `bits`: used of 16."""
    read, _ = read_image(file, file.name)
    image = np.ascontiguousarray(read if read.dtype == np.uint8 else read >> (bits - 8), dtype=np.uint8)
    height, width = image.shape[:2]
    shape = max(2 * round(height * scale[0] / 2), 16), max(2 * round(width * scale[1] / 2), 16)  # even, as in training
    mask = resize_mask(foreground_of(network, precision, resize_image(image, shape), stop), (height, width))
    border = mask & ~ndimage.binary_erosion(mask)
    overlay = image.copy()
    overlay[border] = OUTLINE
    Image.fromarray(mask.astype(np.uint8) * 255).save(out / f"{file.stem}_mask.png")
    Image.fromarray(overlay).save(out / f"{file.stem}_overlay.png", compress_level=1)
    objects = int(ndimage.label(mask, np.ones((3, 3)))[1])
    return file.name, width, height, f"{mask.mean():.4f}", objects


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""

    def predict_it() -> None:
        print(f"masks: {predict_folder(arguments)}")

    return run_command(predict_it, "no masks were kept; nothing was replaced.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
