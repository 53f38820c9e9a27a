"""Training one network, from a configuration to its weights. Test images play no part here."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from time import perf_counter
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Generator, Tensor, nn
from torch.nn.functional import binary_cross_entropy

from lib.models import NETWORKS

Precision = Literal["fp32", "bf16"]


@pydantic.dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """All that determines a run's result, apart from data and code; values out of range raise ValueError.

    Equal configurations give bitwise equal results on one machine.
    """

    network: Literal[
        "shallower_CNN_segment", "dropout_CNN_segment", "two_dropouts_CNN_segment", "deeper_CNN_segment"
    ] = "shallower_CNN_segment"
    epochs: PositiveInt = 60  # the study does not say; ours
    learning_rate: PositiveFloat = 1e-3  # of Adam; the study does not say; at 1e-2 noise and dropout collapse
    batch_size: PositiveInt = 8  # images; the study does not say; ours
    noise_std: NonNegativeFloat = 0.0  # of the Gaussian noise on training images, in units of the range [0, 1]
    l2: NonNegativeFloat = 0.0  # times the sum of squared parameters, biases included, is added to the loss
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None  # p of every dropout layer; None: the network's own
    seed: NonNegativeInt = 0  # decides initialisation, batch order, noise and dropout, each by a stream of its own
    snapshot_every: PositiveInt = 5  # epochs; scoring 145 images costs about half an epoch of 85
    threads: PositiveInt = 1  # of torch; another number sums in another order, and so rounds differently
    precision: Precision = "fp32"  # of the convolutions; weights, loss and scores are always fp32

    # What the loop asks of a configuration; `lib.recipe` answers otherwise.

    def initial_network(self) -> nn.Module:
        """Returns a network, initialised from torch's global generator."""
        return NETWORKS[self.network]()

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        """Returns what updates a network's weights."""
        return torch.optim.Adam(network.parameters(), lr=self.learning_rate)

    def rate(self, epoch: int) -> float:  # noqa: ARG002, as below: for a subclass
        """Returns the learning rate of an epoch, counted from 0."""
        return self.learning_rate

    def augmented(self, inputs: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Returns a batch of inputs and float masks as they are trained on: the study takes them as they are."""
        return inputs, masks

    def loss(self, probabilities: Tensor, masks: Tensor) -> Tensor:
        """Returns the loss of a batch, without penalty."""
        return binary_cross_entropy(probabilities, masks)


def random_stream(seed: int, purpose: str) -> int:
    """Returns the seed of the random stream for one purpose in the runs of `seed`.

    Streams for different purposes are independent, so a variant that draws noise keeps the initialisation and the
    batch order of the baseline with the same seed.
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
    """`nn.Dropout` with its own random generator, which spends 16 bits a value: several times as fast on a CPU.

    The probability is rounded to a multiple of 1/65536.
    """

    def __init__(self, p: float, generator: Generator) -> None:
        super().__init__(p)
        self.generator = generator

    def forward(
        self, input: Float[Tensor, "batch channel height width"]
    ) -> Float[Tensor, "batch channel height width"]:
        if not self.training:
            return input
        batch, channels, height, width = input.shape
        words = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        draws = words.view(torch.int16)[: input.numel()].view(batch, height, width, channels)  # as channels last
        smallest_kept = round(self.p * 2**16) - 2**15
        if smallest_kept == 2**15:  # p rounds to 1, and no 16 bits reach it
            return input * 0
        kept = draws.permute(0, 3, 1, 2) >= smallest_kept
        return input * kept.to(input.dtype).mul_(1 / (1 - self.p))


def build_network(config: TrainingConfig) -> nn.Module:
    """Returns the network of a run, initialised from its seed; torch's global generator is left as it was.

    Layer initialisation accepts no generator, so torch's global one is seeded for it and restored; no two threads of a
    process may build networks at the same time. Weights are stored channels last, which makes the convolutions about
    1.5 times as fast.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(random_stream(config.seed, "initialisation"))
        network = config.initial_network()
    for name, layer in list(network.named_children()):
        if isinstance(layer, nn.Dropout):
            p = layer.p if config.dropout is None else config.dropout
            setattr(network, name, SeededDropout(p, generator(config.seed, f"dropout of {name}")))
    # Convolutions may be bf16, probabilities are not: near 0 and 1 its 8 bits would dominate the loss.
    network.get_submodule("sig").register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def as_input(images: UInt8[Tensor, "batch height width 3"]) -> Float32[Tensor, "batch 3 height width"]:
    """Returns images as network inputs: scaled to [0, 1], stored channels last."""
    return images.permute(0, 3, 1, 2).float().div_(255)


def gaussian_noise(
    inputs: Float32[Tensor, "batch 3 height width"], std: float, generator: Generator
) -> Float32[Tensor, "batch 3 height width"]:
    """Returns Gaussian noise of mean 0 for a batch of inputs, drawn in the order of its channels-last memory."""
    batch, channels, height, width = inputs.shape
    return std * torch.randn((batch, height, width, channels), generator=generator).permute(0, 3, 1, 2)


def l2_penalty(network: nn.Module) -> Float32[Tensor, ""]:
    """Returns the sum of squares of all parameters, weights and biases alike.

    Adding lambda times this to the loss equals ``weight_decay = 2 lambda`` in SGD and Adam, not in AdamW.
    """
    return torch.stack([parameter.square().sum() for parameter in network.parameters()]).sum()


def train_epoch(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: UInt8[Tensor, "image height width 3"],
    masks: Bool[Tensor, "image height width"],
    config: TrainingConfig,
    order: Generator,
    noise: Generator,
) -> dict[str, float]:
    """Trains on every image once, in batches of random order; the last batch may be smaller.

    Args:
        network, optimizer: updated in place.
        images: RGB in 0..255. masks: True in the foreground.
        config: batch size, noise, penalty and precision.
        order, noise: generators of the batch order, and of input noise and augmentation.

    Returns:
        The norm of the loss's gradient with respect to each parameter tensor, as a mean over batches.
    """
    network.train()
    norms: list[Tensor] = []
    for batch in torch.randperm(len(images), generator=order).split(config.batch_size):
        inputs, targets = config.augmented(as_input(images[batch]), masks[batch].float(), noise)
        if config.noise_std:
            inputs += gaussian_noise(inputs, config.noise_std, noise)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            probabilities = network(inputs)
        loss = config.loss(probabilities, targets)
        if config.l2:
            loss = loss + config.l2 * l2_penalty(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        norms.append(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]))
    mean = torch.stack(norms).mean(dim=0).tolist()
    return {name: norm for (name, _), norm in zip(network.named_parameters(), mean, strict=True)}


class Training:
    """A run in progress: a network and everything else that its next epoch depends on.

    Attributes:
        network: in training.
        seconds: duration of each epoch so far.
        gradient_norms: of each epoch, as returned by `train_epoch`.
        snapshots: the weights after every `snapshot_every` epochs and after the last, by epoch.
    """

    def __init__(self, config: TrainingConfig) -> None:
        self.config = config
        self.network = build_network(config)
        self.optimizer = config.optimizer(self.network)
        self.seconds: list[float] = []
        self.gradient_norms: list[dict[str, float]] = []
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self.generators = {purpose: generator(config.seed, purpose) for purpose in ("order", "noise")} | {
            name: layer.generator for name, layer in self.network.named_modules() if isinstance(layer, SeededDropout)
        }

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done."""
        return len(self.seconds) >= self.config.epochs

    def advance(
        self, images: UInt8[np.ndarray, "image height width 3"], masks: Bool[np.ndarray, "image height width"]
    ) -> None:
        """Trains one epoch and takes a snapshot if one is due."""
        order, noise, config = self.generators["order"], self.generators["noise"], self.config
        tensors = torch.from_numpy(images), torch.from_numpy(masks)
        for group in self.optimizer.param_groups:
            group["lr"] = config.rate(len(self.seconds))
        started = perf_counter()
        with thread_count(config.threads):
            norms = train_epoch(self.network, self.optimizer, *tensors, config, order, noise)
        self.gradient_norms.append(norms)
        self.seconds.append(perf_counter() - started)
        epoch = len(self.seconds)
        if epoch % config.snapshot_every == 0 or self.finished:
            self.snapshots[epoch] = deepcopy(self.network.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Returns what `load_state_dict` needs to continue with bitwise the same results as without interruption."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {purpose: generator.get_state() for purpose, generator in self.generators.items()},
            "seconds": self.seconds,
            "gradient_norms": self.gradient_norms,
            "snapshots": self.snapshots,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a state of a run of the same configuration."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for purpose, generator_state in state["generators"].items():
            self.generators[purpose].set_state(generator_state)
        self.seconds, self.gradient_norms = list(state["seconds"]), list(state["gradient_norms"])
        self.snapshots = dict(state["snapshots"])


def train(
    config: TrainingConfig,
    images: UInt8[np.ndarray, "image height width 3"],
    masks: Bool[np.ndarray, "image height width"],
) -> Training:
    """Trains one network from its initialisation to its last epoch.

    Args:
        config: everything but the data.
        images: RGB in 0..255. masks: True in the foreground.

    Returns:
        The finished run: its network, and the weights after every `config.snapshot_every` epochs.
    """
    training = Training(config)
    while not training.finished:
        training.advance(images, masks)
    return training
