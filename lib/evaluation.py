"""Scoring a network image by image: arrays in, numbers out."""

import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from lib.metrics import DSC, confusion
from lib.training import as_input

THRESHOLD = 0.5  # a pixel is foreground where its probability is above this
METRICS = ("loss", "dsc", "dice", "iou")  # what `evaluate` returns


def _dsc_by_image(
    mask_pred: Bool[Tensor, "image height width"], mask_true: Bool[Tensor, "image height width"]
) -> Float64[Tensor, " image"]:
    return torch.stack([DSC(pred, true) for pred, true in zip(mask_pred, mask_true, strict=True)]).double()


@torch.inference_mode()
def predict(network: nn.Module, images: UInt8[Tensor, "image height width 3"]) -> Float32[Tensor, "image height width"]:
    """Returns foreground probabilities in [0, 1] of images without noise, in `eval()` mode, eight images at a time."""
    network.eval()
    return torch.cat([network(as_input(batch)) for batch in images.split(8)])


def evaluate(
    network: nn.Module,
    images: UInt8[Tensor, "image height width 3"],
    masks: Bool[Tensor, "image height width"],
) -> dict[str, Float64[Tensor, " image"]]:
    """Scores a network image by image, in `eval()` mode on images without noise.

    Args:
        images: RGB in 0..255. masks: True in the foreground.

    Returns:
        For each of METRICS one value per image: binary cross-entropy without penalty (nats per pixel), the
        study's DSC, the Dice coefficient and IoU, the last three of the mask above THRESHOLD, in [0, 1].
    """
    probabilities = predict(network, images)
    mask_pred = probabilities > THRESHOLD
    counts = confusion(mask_pred, masks)
    loss = binary_cross_entropy(probabilities, masks.float(), reduction="none").mean(dim=(1, 2))
    return {"loss": loss.double(), "dsc": _dsc_by_image(mask_pred, masks), "dice": counts.dice, "iou": counts.iou}


def constant_scores(masks: Bool[Tensor, "image height width"]) -> dict[str, dict[str, Float64[Tensor, " image"]]]:
    """Scores the two constant answers, the floor for every other score.

    Args:
        masks: True in the foreground.

    Returns:
        By answer, "all gland" and "no gland", DSC and Dice of each image, in [0, 1].
    """
    answers = {"all gland": torch.ones_like(masks), "no gland": torch.zeros_like(masks)}
    return {
        answer: {"dsc": _dsc_by_image(mask_pred, masks), "dice": confusion(mask_pred, masks).dice}
        for answer, mask_pred in answers.items()
    }
