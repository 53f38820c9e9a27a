"""Scores of a predicted mask against the true one: the study's ``DSC`` and the standard overlap measures.

The study calls its score the Dice score. It counts the pixels on which two masks agree, background
included, which for two masks of one shape is the pixel accuracy; `Confusion.dice` is the Dice coefficient.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor


def DSC(a: Tensor, b: Tensor) -> Tensor:
    """Returns the study's Dice score, the share of equal elements: verbatim from the study, section 2.1 a.

    Tensors of two shapes are broadcast before they are compared but counted as they
    came, so that the result can exceed 1; `confusion` refuses them instead.

    Args:
        a, b: tensors of one shape and any dtype, here thresholded masks.

    Returns:
        A scalar, in [0, 1] for tensors of one shape.
    """
    return 2 * torch.sum(a == b) / (a.numel() + b.numel())


@dataclass(frozen=True)
class Confusion:
    """Pixel counts of true and false positives and negatives, one per image, and the overlap measures made of them.

    The foreground class alone counts; background is not a second class. Where a score is 0/0 it is 1 if the masks
    agree (nothing to find, nothing found) and 0 otherwise. Scores are per image: the mean over images weighs images
    equally, whatever their foreground.

    Attributes:
        tp, fp, fn, tn: counts per image, int64, shape (image,).
    """

    tp: Int64[Tensor, " image"]
    fp: Int64[Tensor, " image"]
    fn: Int64[Tensor, " image"]
    tn: Int64[Tensor, " image"]

    def _ratio(self, numerator: Tensor, denominator: Tensor) -> Float64[Tensor, " image"]:
        masks_agree = (self.fp + self.fn == 0).double()
        return torch.where(denominator > 0, numerator.double() / denominator, masks_agree)

    @property
    def dice(self) -> Float64[Tensor, " image"]:
        """2 TP / (2 TP + FP + FN), in [0, 1] (Dice 1945; the F1 score of the foreground)."""
        return self._ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> Float64[Tensor, " image"]:
        """TP / (TP + FP + FN), in [0, 1] (Jaccard 1912)."""
        return self._ratio(self.tp, self.tp + self.fp + self.fn)


def confusion(
    mask_pred: Bool[Tensor, "image height width"], mask_true: Bool[Tensor, "image height width"]
) -> Confusion:
    """Counts true and false positives and negatives, image by image; masks are True in the foreground.

    Raises:
        ValueError: the shapes differ (they are never broadcast).
        TypeError: a mask is not boolean.
    """
    if mask_pred.shape != mask_true.shape:
        raise ValueError(
            f"mask_pred: expected the shape of mask_true, {tuple(mask_true.shape)}, found {tuple(mask_pred.shape)}"
        )
    for name, mask in (("mask_pred", mask_pred), ("mask_true", mask_true)):
        if mask.dtype != torch.bool:
            raise TypeError(f"{name}: expected a boolean mask, found {mask.dtype}")

    def count(pixels: Tensor) -> Tensor:
        return pixels.sum(dim=(-2, -1))

    return Confusion(
        tp=count(mask_pred & mask_true),
        fp=count(mask_pred & ~mask_true),
        fn=count(~mask_pred & mask_true),
        tn=count(~mask_pred & ~mask_true),
    )
