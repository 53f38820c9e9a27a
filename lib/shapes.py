"""Scores of a predicted mask by its border and by its objects, beside the overlap of pixels in `lib.metrics`.

Libraries disagree on every one of these, so each says which convention it follows. An object is a part of a mask whose
pixels touch at sides or corners: masks have no numbers here, so that glands that touch count as one.
"""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from skimage.measure import label
from skimage.metrics import contingency_table

TOLERANCE = 2.0  # pixels by which a border may be off


def _border(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    return mask & ~ndimage.binary_erosion(mask, border_value=1)


def surface_dice(
    mask_pred: Bool[np.ndarray, "height width"],
    mask_true: Bool[np.ndarray, "height width"],
    tolerance: float = TOLERANCE,
) -> float:
    """Returns the share of both masks' border pixels that lie within a tolerance of the other's border, in [0, 1].

    A border pixel is one of the mask with a background pixel at one of its sides; the edge of the image is no border.
    A mask without any border scores 0 beside one that has one. Where neither has one, the score is 1 if the masks agree
    (two empty ones, say) and 0 otherwise, as for Dice.

    Args:
        mask_pred, mask_true: True in the foreground. tolerance: in pixels, between their centres.

    Reference: Nikolov et al. 2021, 10.2196/26151, who call it surface Dice (others: normalized surface distance), and
    weigh pieces of the border by their length where this counts pixels.
    """
    borders = _border(mask_pred), _border(mask_true)
    count = sum(int(border.sum()) for border in borders)
    if not count:
        return float((mask_pred == mask_true).all())
    if not all(border.any() for border in borders):
        return 0.0
    near = sum(
        int((ndimage.distance_transform_edt(~other)[border] <= tolerance).sum())
        for border, other in (borders, borders[::-1])
    )
    return near / count


def object_scores(
    mask_pred: Bool[np.ndarray, "height width"],
    mask_true: Bool[np.ndarray, "height width"],
    pixel: tuple[float, float] = (1.0, 1.0),
) -> dict[str, float]:
    """Returns the three scores of the GlaS challenge: how well a prediction finds and outlines single objects.

    Each object's partner is the one of the other mask that it shares most pixels with. Where both masks are empty the
    scores are perfect; where one is, they are 0, and the distance, infinite in the challenge, is the image's diagonal.

    Args:
        mask_pred, mask_true: True in the foreground.
        pixel: height and width of a pixel, for distances: of a shrunken image, in pixels of the original, say.

    Returns:
        "f1": in [0, 1]; a predicted object is found where it covers more than half of its partner.
        "dice": in [0, 1], the Dice coefficient of each object with its partner (0 without one), weighted by the
            object's size, and the mean of that over predicted and over true objects.
        "hausdorff": the same mean of the Hausdorff distance, in units of `pixel`; without a partner to the
            nearest object by it.

    Reference: Sirinukunwattana et al. 2017, 10.1016/j.media.2016.08.008.
    """
    objects_pred, objects_true = label(mask_pred), label(mask_true)
    shared = contingency_table(objects_true, objects_pred).toarray()
    size_true, size_pred = shared.sum(axis=1)[1:], shared.sum(axis=0)[1:]
    if not (len(size_true) and len(size_pred)):
        both_empty = float(len(size_true) == len(size_pred))
        diagonal = float(np.hypot(*np.multiply(mask_true.shape, pixel)))
        return {"f1": both_empty, "dice": both_empty, "hausdorff": (1 - both_empty) * diagonal}
    shared = shared[1:, 1:]
    distances = np.maximum(_farthest(objects_true, objects_pred, pixel), _farthest(objects_pred, objects_true, pixel).T)
    of_true = np.where(shared.any(axis=1), shared.argmax(axis=1), distances.argmin(axis=1))
    of_pred = np.where(shared.any(axis=0), shared.argmax(axis=0), distances.argmin(axis=0))
    true, pred = np.arange(len(size_true)), np.arange(len(size_pred))

    def over_objects(values: Float[np.ndarray, "true pred"]) -> float:
        over_true = np.average(values[true, of_true], weights=size_true)
        return float(over_true + np.average(values[of_pred, pred], weights=size_pred)) / 2

    found = int((2 * shared[of_pred, pred] > size_true[of_pred]).sum())
    return {
        "f1": 2 * found / (len(true) + len(pred)),
        "dice": over_objects(2 * shared / (size_true[:, None] + size_pred)),
        "hausdorff": over_objects(distances),
    }


def _farthest(
    objects: Int[np.ndarray, "height width"], others: Int[np.ndarray, "height width"], pixel: tuple[float, float]
) -> np.ndarray:
    """Returns the distance of the farthest pixel of each of `others` (columns) from each of `objects` (rows)."""
    order = np.argsort(others, axis=None, kind="stable")  # object by object, which is faster than `ndimage.maximum`
    first = np.searchsorted(others.ravel(), np.arange(1, others.max() + 1), sorter=order)
    from_each = (ndimage.distance_transform_edt(objects != n, sampling=pixel) for n in range(1, objects.max() + 1))
    return np.stack([np.maximum.reduceat(distances.ravel()[order], first) for distances in from_each])
