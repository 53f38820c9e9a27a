"""The gallery of the page: test images, each with its mask and one run's prediction."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from skimage.measure import find_contours

from lib.data.dataset import Split
from lib.evaluation import THRESHOLD, predict
from lib.figures.images import what_is_missed
from lib.models import shallower_CNN_segment
from lib.runs.plan import VARIANTS
from lib.runs.run import Run

LIMIT = 120  # pictures: more would make a file that opens slowly
EXTREMES = 20  # of the lowest and of the highest scores, where there are more images than that
LARGEST = 256  # pixels a side of a picture
LOSSLESS = 1_400_000  # characters that exact pixels may add to a page
TRIED_RUNS = 3  # of each variant, that a reader can try in the page


@dataclass(frozen=True)
class Picture:
    """One image of the gallery.

    Attributes:
        name, patient: of the image; the patient is "" where unknown.
        dsc, dice: of the run's prediction.
        true, predicted: shares of foreground, in [0, 1].
        wrong: what the prediction gets wrong, in a few words.
        exact: whether the image holds the pixels that the network sees, all of them and unchanged.
        image: data URI. truth, prediction, hit: outlines, in half pixels, for the "d" of an SVG path; "hit" is what the
            other two have in common.
    """

    name: str
    patient: str
    dsc: float
    dice: float
    true: float
    predicted: float
    wrong: str
    exact: bool
    image: str
    truth: str
    prediction: str
    hit: str

    @property
    def disagreement(self) -> float:
        """How far DSC and Dice are apart, in [0, 1]."""
        return abs(self.dsc - self.dice)


def choose(dsc: np.ndarray, limit: int = LIMIT, extremes: int = EXTREMES) -> Int[np.ndarray, " chosen"]:
    """Returns which images to show, in their order: all, or the extremes and every so many of the others by rank."""
    if len(dsc) <= limit:
        return np.arange(len(dsc))
    ranked = np.argsort(dsc, kind="stable")
    others = ranked[extremes:-extremes]
    sample = others[np.linspace(0, len(others) - 1, limit - 2 * extremes).round().astype(int)]
    return np.sort(np.concatenate([ranked[:extremes], sample, ranked[-extremes:]]))


def outline(mask: Bool[np.ndarray, "height width"]) -> str:
    """Returns the border of a mask as an SVG path, in half pixels from the image's upper left corner."""
    parts, every = [], -(-max(mask.shape) // LARGEST)
    for contour in find_contours(np.pad(mask[::every, ::every], 1).astype(float), 0.5):
        points = every * (2 * contour[:, ::-1] - 1).astype(int)  # x before y; closed, the last is the first
        steps = np.diff(points, axis=0)
        corners = points[:-1][(steps != np.roll(steps, 1, axis=0)).any(axis=1)]
        lines = " ".join(f"{x} {y}" for x, y in np.diff(corners, axis=0)).replace(" -", "-")
        parts.append(f"M{corners[0][0]} {corners[0][1]}l{lines}z")
    return "".join(parts)


def _data_uri(image: UInt8[np.ndarray, "height width 3"], **options: Any) -> str:
    buffer, picture = io.BytesIO(), Image.fromarray(image)
    picture.thumbnail((LARGEST, LARGEST))
    picture.save(buffer, "webp", method=4, **options)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _data_uris(images: UInt8[np.ndarray, "image height width 3"], first: np.ndarray) -> list[tuple[bool, str]]:
    """Returns images for a page, and whether each is exact: in a given order, as long as LOSSLESS allows it."""
    uris, left = {}, LOSSLESS
    for i in first:
        uris[i] = False, _data_uri(images[i], quality=80)
        if left > 0 and max(images.shape[1:3]) <= LARGEST:
            exact = _data_uri(images[i], lossless=True)
            left -= len(exact) - len(uris[i][1])
            if left >= 0:
                uris[i] = True, exact
    return [uris[i] for i in range(len(images))]


def portable_weights(runs: Mapping[str, Sequence[Run]]) -> dict[str, str]:
    """Returns the weights of the first runs of each variant, by a name to print, for the page's own network.

    Each is the base64 of little-endian float32, tensors in the order of the network's state. Networks of another
    architecture than the study's are left out, and so is the longer baseline, which is no variant of the study.
    """
    shapes = {name: value.shape for name, value in shallower_CNN_segment().state_dict().items()}
    return {
        f"{VARIANTS[variant].label}, seed {run.config.seed}": base64.b64encode(
            np.concatenate([run.weights[name].numpy().astype("<f4").ravel() for name in shapes]).tobytes()
        ).decode()
        for variant, of_variant in runs.items()
        for run in of_variant[:TRIED_RUNS]
        if variant != "longer" and {name: value.shape for name, value in run.weights.items()} == shapes
    }


def pictures(run: Run, split: Split, scores: pd.DataFrame) -> list[Picture]:
    """Returns the pictures of a gallery.

    Args:
        run: whose predictions are outlined.
        split: the images.
        scores: of this run, indexed by the names of the images, with columns "dsc" and "dice".
    """
    dsc, dice = (scores.loc[list(split.names), metric].to_numpy() for metric in ("dsc", "dice"))
    chosen = np.union1d(choose(dsc), np.abs(dsc - dice).argmax())  # the one that opens the page is always among them
    uris = _data_uris(split.images[chosen], np.argsort(-np.abs(dsc - dice)[chosen], kind="stable"))
    masks_pred = predict(run.network(), torch.from_numpy(split.images[chosen])).numpy() > THRESHOLD
    return [
        Picture(
            split.names[i], split.patients[i] if split.patients else "", float(dsc[i]), float(dice[i]),
            float(split.masks[i].mean()), float(mask_pred.mean()), what_is_missed(split.masks[i], mask_pred),
            *uri,
            outline(split.masks[i]), outline(mask_pred), outline(split.masks[i] & mask_pred),
        )
        for i, mask_pred, uri in zip(chosen, masks_pred, uris, strict=True)
    ]  # fmt: skip
