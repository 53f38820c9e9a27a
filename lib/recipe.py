"""A network of today and the recipe that it is trained with: what section 4 compares the study's network with.

Everything here is a setting of `Recipe`, so that each can be turned on alone, for the study's network too.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Literal

import pydantic
import torch
from jaxtyping import Float32
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Generator, Tensor, nn
from torch.nn.functional import affine_grid, binary_cross_entropy, grid_sample, interpolate, max_pool2d

from lib.models import Images, Probabilities
from lib.training import TrainingConfig

WIDTHS = (16, 32, 64, 128, 256)  # channels from the full resolution to a sixteenth of it
WARM_UP = 0.25  # of all epochs, in which the learning rate rises


def _block(channels: int, wider: int, normalized: bool) -> nn.Sequential:
    """Returns two convolutions, each with batch normalization, if wanted, and ReLU."""
    layers: list[nn.Module] = []
    for before in (channels, wider):
        layers.append(nn.Conv2d(before, wider, 3, padding=1, bias=not normalized))
        layers += [nn.BatchNorm2d(wider)] if normalized else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Maps images to foreground probabilities: a U-Net of five levels.

    Args (forward):
        x: float32 in [0, 1], shape (batch, 3, height, width), of any size.

    Returns (forward):
        Probability of foreground, float32 in [0, 1], shape (batch, height, width).

    Reference: Ronneberger, Fischer and Brox 2015, 10.1007/978-3-319-24574-4_28; padded, and a quarter as wide.
    """

    def __init__(self, normalized: bool = True) -> None:
        super().__init__()
        pairs = list(pairwise(WIDTHS))
        self.down = nn.ModuleList(_block(a, b, normalized) for a, b in [(3, WIDTHS[0]), *pairs])
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.merge = nn.ModuleList(_block(2 * a, a, normalized) for a, _ in pairs)
        self.head = nn.Conv2d(WIDTHS[0], 1, 1)
        self.sig = nn.Sigmoid()

    def forward(self, x: Images) -> Probabilities:
        x = (x - 0.5) / 0.25
        skipped = []
        for level, block in enumerate(self.down):
            # Batch normalization of one small image needs more than the one value that would be left of it.
            x = block(max_pool2d(x, 2) if level and min(x.shape[2:]) > 2 else x)
            skipped.append(x)
        for level in reversed(range(len(self.up))):
            skip = skipped[level]
            x = interpolate(self.up[level](x), skip.shape[2:])  # which changes odd and very small sizes alone
            x = self.merge[level](torch.cat([x, skip], dim=1))
        return self.sig(self.head(x)).squeeze(dim=1)


@pydantic.dataclasses.dataclass(frozen=True, config={"extra": "forbid"})
class Recipe(TrainingConfig):
    """A `TrainingConfig` with what is usual today; at its defaults it trains what `TrainingConfig` does."""

    network: Literal[
        "shallower_CNN_segment", "dropout_CNN_segment", "two_dropouts_CNN_segment", "deeper_CNN_segment", "UNet"
    ] = "shallower_CNN_segment"  # type: ignore[assignment]  # one more than the core has
    normalized: bool = False  # whether the U-Net has batch normalization
    augmentation: NonNegativeFloat = 0.0  # strength of random changes of shape and colour; 0: none
    dice_loss: NonNegativeFloat = 0.0  # weight of the soft Dice loss beside the cross-entropy
    one_cycle: bool = False  # whether the learning rate rises and falls, and AdamW takes the place of Adam
    weight_decay: NonNegativeFloat = 0.0  # of AdamW
    scales: tuple[PositiveFloat, ...] = ()  # at which `eval()` looks again, each time turned further, and averages

    def initial_network(self) -> nn.Module:
        network = UNet(self.normalized) if self.network == "UNet" else super().initial_network()
        if self.scales:
            network.register_forward_hook(partial(_averaged, self.scales))
        return network

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        if not self.one_cycle:
            return super().optimizer(network)
        return torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)

    def rate(self, epoch: int) -> float:
        """Rises along a cosine from a 25th of the learning rate, then falls along another to nearly 0."""
        if not self.one_cycle:
            return self.learning_rate
        done, warm_up = epoch + 0.5, WARM_UP * self.epochs
        share = done / warm_up if done < warm_up else (self.epochs - done) / (self.epochs - warm_up)
        low = 0.04 if done < warm_up else 0.0
        return self.learning_rate * (low + (1 - low) * (1 - math.cos(math.pi * share)) / 2)

    def augmented(self, inputs: Tensor, masks: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        if not self.augmentation:
            return inputs, masks
        return augmented(inputs, masks, self.augmentation, generator)

    def loss(self, probabilities: Tensor, masks: Tensor) -> Tensor:
        loss = binary_cross_entropy(probabilities, masks)
        if not self.dice_loss:
            return loss
        overlap, total = ((x.sum(dim=(1, 2)) + 1) for x in (2 * probabilities * masks, probabilities + masks))
        return loss + self.dice_loss * (1 - overlap / total).mean()


def augmented(
    inputs: Float32[Tensor, "batch 3 height width"],
    masks: Float32[Tensor, "batch height width"],
    strength: float,
    generator: Generator,
) -> tuple[Float32[Tensor, "batch 3 height width"], Float32[Tensor, "batch height width"]]:
    """Returns a batch turned, flipped, stretched, bent and recoloured at random, and its masks likewise, of 0 and 1.

    What lies outside of an image is its reflection. At strength 1 an image is turned by up to 0.3 radians beside
    multiples of 90 degrees, scaled by up to a factor of 1.65, and 1.1 more along one side, sheared, moved by up to 7.5%
    of its size, and its contrast, brightness and gamma change by about a quarter. Turns are those of a square: an image
    that is none is stretched with them.
    """
    batch, _, height, width = inputs.shape

    def uniform(*shape: int) -> Tensor:
        return strength * (2 * torch.rand(shape, generator=generator) - 1)

    quarter = math.pi / 2 * torch.randint(4, (batch,), generator=generator)
    flip = 2.0 * torch.randint(2, (batch,), generator=generator) - 1
    angle, scale, shear = quarter + 0.3 * uniform(batch), torch.exp(0.5 * uniform(batch)), 0.15 * uniform(batch)
    stretch = torch.exp(0.1 * uniform(batch))
    cos, sin, move = angle.cos() * scale, angle.sin() * scale, 0.15 * uniform(batch, 2)
    rows = (cos * stretch * flip, shear - sin, move[:, 0]), (sin * stretch * flip, cos, move[:, 1])
    affine = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)
    grid = affine_grid(affine, [batch, 1, height, width], align_corners=False)
    bends = 0.06 * strength * torch.randn((batch, 2, 6, 6), generator=generator)
    grid = grid + interpolate(bends, (height, width), mode="bicubic").permute(0, 2, 3, 1)
    both = torch.cat([inputs, masks[:, None]], dim=1)
    both = grid_sample(both, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    images, shapes = both[:, :3], (both[:, 3] > 0.5).float()
    mean = images.mean(dim=(2, 3), keepdim=True)
    contrast, brightness = 1 + 0.25 * uniform(batch, 1, 1, 1), mean * 0.15 * uniform(batch, 3, 1, 1)
    images = (images - mean) * contrast + mean + brightness + 0.08 * uniform(batch, 3, 1, 1)
    images = images.clamp(1e-3, 1) ** torch.exp(0.25 * uniform(batch, 1, 1, 1))
    return images.contiguous(memory_format=torch.channels_last), shapes


def _averaged(scales: Sequence[float], network: nn.Module, inputs: tuple[Tensor], probabilities: Tensor) -> Tensor:
    """A forward hook: returns the mean over an image and views of it at other scales, but in training.

    Each view is also turned, by 90 degrees more than the one before: an outline should not depend on orientation, and
    only a little on magnification.
    """
    if network.training:
        return probabilities
    (images,) = inputs
    shape = images.shape[2:]
    views = [probabilities]
    for turns, scale in enumerate(scales, start=1):
        sides = [max(16, 8 * round(side * scale / 8)) for side in shape]  # even, for the study's networks
        view = torch.rot90(interpolate(images, sides, mode="bilinear", antialias=True), turns, (2, 3))
        found = torch.rot90(network.forward(view.contiguous(memory_format=torch.channels_last)), -turns, (1, 2))
        views.append(interpolate(found[:, None].float(), shape, mode="bilinear").squeeze(dim=1))
    return torch.stack(views).mean(dim=0)
