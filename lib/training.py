"""Training and evaluation of one network: what happens between a configuration and its learning curve."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Literal

import numpy as np
import pydantic
import torch
from jaxtyping import Float, Float32
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy

from lib.data import Split
from lib.metrics import DSC, confusion
from lib.models import NETWORKS

THRESHOLD = 0.5  # a pixel is foreground where its probability is above this
METRICS = ("loss", "dsc", "dice", "iou")  # the columns of `evaluate`


@pydantic.dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All that decides the result of a run, apart from the data and the code; values out of range raise ValueError.

    Equal configurations give equal bits on one machine.
    """

    network: Literal["shallower_CNN_segment", "dropout_CNN_segment"] = "shallower_CNN_segment"
    epochs: PositiveInt = 60  # the study does not say; ours
    learning_rate: PositiveFloat = 1e-3  # of Adam; the study does not say; at 1e-2 noise and dropout collapse
    batch_size: PositiveInt = 8  # images; the study does not say; ours
    noise_std: NonNegativeFloat = 0.0  # of the Gaussian noise on training images, in units of the range [0, 1]
    l2: NonNegativeFloat = 0.0  # times the sum of squared parameters, biases included, is added to the loss
    seed: NonNegativeInt = 0  # decides initialisation, batch order, noise and dropout, each by a stream of its own
    evaluate_every: PositiveInt = 5  # epochs; scoring 145 images costs about half an epoch of 85
    threads: PositiveInt = 1  # of torch; the sums of another number of threads round differently


@dataclass
class History:
    """The learning curve of a run: scores in `eval()` mode on clean images, and the training time per epoch.

    Attributes:
        epochs: the epochs after which both splits were scored; the last is the last of the run.
        train, test: for each of METRICS, the mean over images at each of these epochs.
        seconds: training time of every epoch, scoring not included, in seconds.
    """

    epochs: list[int] = field(default_factory=list)
    train: dict[str, list[float]] = field(default_factory=lambda: {metric: [] for metric in METRICS})
    test: dict[str, list[float]] = field(default_factory=lambda: {metric: [] for metric in METRICS})
    seconds: list[float] = field(default_factory=list)


def random_stream(seed: int, purpose: str) -> int:
    """Returns the seed of the random stream that serves one purpose in the runs of `seed`.

    Streams of different purposes are independent, so that a variant that draws noise still has the
    initialisation and the batch order of the baseline with the same seed.
    """
    entropy = (seed, *purpose.encode())
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)


def generator(seed: int, purpose: str) -> Generator:
    """Returns a new generator at the start of `random_stream`."""
    return Generator().manual_seed(random_stream(seed, purpose))


@contextmanager
def thread_count(threads: int) -> Iterator[None]:
    """Sets torch's number of threads for the duration of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class SeededDropout(nn.Dropout):
    """`nn.Dropout` that draws from a generator of its own, 16 random bits a value.

    Its probability is that of `nn.Dropout` rounded to 1/65536; its masks take a fraction of the time on a CPU.
    """

    def __init__(self, p: float, generator: Generator) -> None:
        super().__init__(p)
        self.generator = generator

    def forward(
        self, input: Float32[Tensor, "batch channel height width"]
    ) -> Float32[Tensor, "batch channel height width"]:
        if not self.training:
            return input
        batch, channels, height, width = input.shape
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        draws = words.view(torch.int16)[: input.numel()].view(batch, height, width, channels)  # as channels last
        kept = draws.permute(0, 3, 1, 2) >= round(self.p * 2**16) - 2**15
        return input * kept.float().mul_(1 / (1 - self.p))


def build_network(config: TrainingConfig) -> nn.Module:
    """Returns the network of a run, initialised from its seed; torch's global generator is left as it was.

    Layer initialisation takes no generator of its own: it is lent torch's global one, seeded for the purpose.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_stream(config.seed, "initialisation"))
        network = NETWORKS[config.network]()
    for name, layer in list(network.named_children()):
        if isinstance(layer, nn.Dropout):
            setattr(network, name, SeededDropout(layer.p, generator(config.seed, f"dropout of {name}")))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def as_tensors(split: Split) -> tuple[Float32[Tensor, "image 3 height width"], Float32[Tensor, "image height width"]]:
    """Returns the images in [0, 1] and the masks as 0 and 1, both float32, ready for the networks.

    Images lie channels last in memory, on which the convolutions run about 1.5 times as fast.
    """
    images = torch.from_numpy(split.images).permute(0, 3, 1, 2).float() / 255
    return images.contiguous(memory_format=torch.channels_last), torch.from_numpy(split.masks).float()


def l2_penalty(network: nn.Module) -> Float32[Tensor, ""]:
    """Returns the sum of squares of all parameters, weights and biases alike.

    Adding lambda times this to the loss equals ``weight_decay = 2 lambda`` in SGD and Adam, not in AdamW.
    """
    return torch.stack([parameter.square().sum() for parameter in network.parameters()]).sum()


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Float32[Tensor, "image 3 height width"],
    masks: Float32[Tensor, "image height width"],
    config: TrainingConfig,
    order: Generator,
    noise: Generator,
) -> None:
    """Trains for one pass over the images, in batches of a random order; the last batch may be short.

    Args:
        network, optimizer: updated in place.
        images: in [0, 1]. masks: 0 or 1.
        config: gives batch size, noise and penalty.
        order, noise: the generators of the batch order and of the input noise.
    """
    network.train()
    for batch in torch.randperm(len(images), generator=order).split(config.batch_size):
        inputs = images[batch]
        if config.noise_std:
            inputs = inputs + config.noise_std * torch.randn(inputs.shape, generator=noise)
        loss = binary_cross_entropy(network(inputs), masks[batch])
        if config.l2:
            loss = loss + config.l2 * l2_penalty(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.inference_mode()
def predict(
    network: nn.Module, images: Float32[Tensor, "image 3 height width"]
) -> Float32[Tensor, "image height width"]:
    """Returns the foreground probabilities of clean images, in `eval()` mode, eight images at a time."""
    network.eval()
    return torch.cat([network(batch) for batch in images.split(8)])


def evaluate(
    network: nn.Module,
    images: Float32[Tensor, "image 3 height width"],
    masks: Float32[Tensor, "image height width"],
) -> dict[str, Float[np.ndarray, " image"]]:
    """Scores a network image by image, in `eval()` mode on clean images; means are the caller's.

    Args:
        images: in [0, 1]. masks: 0 or 1.

    Returns:
        For each of METRICS one value per image: binary cross-entropy without penalty (nats per pixel), the
        study's DSC, the Dice coefficient and IoU, the last three of the mask above THRESHOLD, in [0, 1].
    """
    probabilities = predict(network, images)
    mask_pred, mask_true = probabilities > THRESHOLD, masks > 0.5
    counts = confusion(mask_pred, mask_true)
    loss = binary_cross_entropy(probabilities, masks, reduction="none").mean(dim=(1, 2))
    dsc = torch.stack([DSC(pred, true) for pred, true in zip(mask_pred, mask_true, strict=True)])
    return {"loss": loss.numpy(), "dsc": dsc.numpy(), "dice": counts.dice.numpy(), "iou": counts.iou.numpy()}


def train(
    config: TrainingConfig, train_split: Split, test_split: Split, on_epoch: Callable[[], None] = lambda: None
) -> tuple[nn.Module, History]:
    """Trains one network from its initialisation to its last epoch and records its learning curve.

    Args:
        config: decides everything that is not data.
        train_split: trained on and scored. test_split: scored only.
        on_epoch: called after every epoch.

    Returns:
        The network as it is after the last epoch, and its history.
    """
    network, history = build_network(config), History()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    order, noise = generator(config.seed, "order"), generator(config.seed, "noise")
    train_set, test_set = as_tensors(train_split), as_tensors(test_split)

    with thread_count(config.threads):
        for epoch in range(1, config.epochs + 1):
            started = perf_counter()
            train_epoch(network, optimizer, *train_set, config, order, noise)
            history.seconds.append(perf_counter() - started)
            if epoch % config.evaluate_every == 0 or epoch == config.epochs:
                history.epochs.append(epoch)
                for curves, tensors in ((history.train, train_set), (history.test, test_set)):
                    for metric, values in evaluate(network, *tensors).items():
                        curves[metric].append(float(values.mean(dtype=np.float64)))
            on_epoch()
    return network, history
