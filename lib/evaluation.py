"""Scores of a network, image by image: what happens between weights and a learning curve."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float32, Float64, UInt8
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from lib.data.dataset import Dataset, Split
from lib.metrics import DSC, confusion
from lib.training import TrainingConfig, as_input, build_network, thread_count

Scores = dict[str, dict[str, Float64[Tensor, " image"]]]  # by split and metric

THRESHOLD = 0.5  # a pixel is foreground where its probability is above this
METRICS = ("loss", "dsc", "dice", "iou")  # what `evaluate` returns


@dataclass
class History:
    """The learning curve of a run: scores in `eval()` mode on clean images, and the training time per epoch.

    Attributes:
        epochs: the epochs after which both splits were scored; the last is the last of the run.
        train, test: for each of METRICS, the mean over images at each of these epochs.
        seconds: training time of every epoch, scoring not included, in seconds.
    """

    epochs: list[int]
    train: dict[str, list[float]]
    test: dict[str, list[float]]
    seconds: list[float]


@torch.inference_mode()
def predict(network: nn.Module, images: UInt8[Tensor, "image height width 3"]) -> Float32[Tensor, "image height width"]:
    """Returns the foreground probabilities of clean images, in `eval()` mode, eight images at a time."""
    network.eval()
    return torch.cat([network(as_input(batch)) for batch in images.split(8)])


def evaluate(
    network: nn.Module,
    images: UInt8[Tensor, "image height width 3"],
    masks: Bool[Tensor, "image height width"],
) -> dict[str, Float64[Tensor, " image"]]:
    """Scores a network image by image, in `eval()` mode on clean images; means are the caller's.

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
    dsc = torch.stack([DSC(pred, true) for pred, true in zip(mask_pred, masks, strict=True)])
    return {"loss": loss.double(), "dsc": dsc.double(), "dice": counts.dice, "iou": counts.iou}


def score_snapshot(config: TrainingConfig, weights: dict[str, Tensor], dataset: Dataset) -> Scores:
    """Returns the scores of every image of a dataset by a network of given weights, as `evaluate` does."""
    network = build_network(config)
    network.load_state_dict(weights)
    with thread_count(config.threads):
        return {
            name: evaluate(network, torch.from_numpy(split.images), torch.from_numpy(split.masks))
            for name, split in dataset.splits.items()
        }


def trivial_scores(split: Split) -> dict[str, dict[str, float]]:
    """Returns what two answers that look at no image score, as means over images: DSC and Dice, in [0, 1]."""
    true = torch.from_numpy(split.masks)
    answers = {"all gland": torch.ones_like(true), "no gland": torch.zeros_like(true)}
    return {
        name: {"dsc": DSC(mask, true).item(), "dice": confusion(mask, true).dice.mean().item()}
        for name, mask in answers.items()
    }
