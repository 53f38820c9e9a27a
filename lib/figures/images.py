"""Figures of images and masks: data in, `Figure` out."""

from collections.abc import Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch
from skimage.measure import label

from lib.claims.words import SPLITS
from lib.data.dataset import Dataset, Split
from lib.data.stain import stain_range, unmix
from lib.evaluation import THRESHOLD
from lib.figures.style import BACKDROP, COLOURS, OVERLAY, STYLE, ReportFigure, count_of_runs
from lib.runs.run import Run
from lib.runs.scores import extreme_images, image_scores

LARGE = 0.1  # of the foreground: an object of that share is large
STAIN_NAMES = ("Haematoxylin", "Eosin", "Rest")


def draw_outlined(ax: Axes, image: np.ndarray, mask: np.ndarray) -> None:
    """Adds an image (height, width, 3) with the thin outline of its mask, yellow on black: seen on any ground."""
    height, width = mask.shape
    ax.imshow(image)
    if mask.any():
        around = np.arange(-1, width + 1), np.arange(-1, height + 1), np.pad(mask, 1)  # also where it meets the edge
        for colour, line in (("black", 1.4), (OVERLAY["miss"], 0.7)):
            ax.contour(*around, levels=[0.5], colors=[colour], linewidths=line)
    ax.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    ax.set_axis_off()


@mpl.rc_context(STYLE)
def figure_contact_sheet(number: int, dataset: Dataset, columns: int = 5) -> ReportFigure:
    """Composes a sheet of images of every split, evenly chosen in the order of their names, with masks outlined."""
    chosen = {
        which: np.unique(np.linspace(0, len(split) - 1, min(columns, len(split))).round().astype(int))
        for which, split in dataset.splits.items()
    }
    counts = " and ".join(
        f"{len(index)} of {len(dataset.splits[which])} {SPLITS[which]}" for which, index in chosen.items()
    )
    caption = f"{counts} images with their masks outlined. Evenly chosen by name from the {dataset.name} set."
    alt = f"A contact sheet of images with outlined foreground: {counts}."
    data = pd.DataFrame(
        [
            {"split": which, "name": split.names[i], "foreground": split.foreground[i]}
            for which, split in dataset.splits.items()
            for i in chosen[which]
        ]
    )
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 0.2 + 7.4 / columns * len(chosen)))
    close = {"wspace": 0.0, "hspace": 0.0, "w_pad": 0.02, "h_pad": 0.03}
    figure.get_layout_engine().set(**close)  # type: ignore[union-attr]  # the style file sets one
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    for (which, index), axes in zip(chosen.items(), grid, strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, i in zip(axes, index, strict=False):
            draw_outlined(ax, dataset.splits[which].images[i], dataset.splits[which].masks[i])
        axes[0].set_title(which, loc="left")
    return figure


@mpl.rc_context(STYLE)
def figure_foreground(number: int, dataset: Dataset) -> ReportFigure:
    """Composes how many images of each split have how much foreground, and the mean of each split."""
    means = {which: split.foreground_fraction for which, split in dataset.splits.items()}
    listed = " and ".join(f"{mean:.0%} of the {SPLITS[which]} pixels" for which, mean in means.items())
    sizes = ", ".join(f"{len(split)} {SPLITS[which]}" for which, split in dataset.splits.items())
    caption = (
        f"Foreground covers {listed}. How many images of the {dataset.name} set have which share of foreground (n = "
        f"{sizes}); upright lines: means."
    )
    alt = f"Histograms of the share of foreground, which covers {listed}."
    data = pd.concat(
        pd.DataFrame({"split": which, "name": split.names, "foreground": split.foreground})
        for which, split in dataset.splits.items()
    )
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 2))
    for ax, (which, split) in zip(
        figure.subplots(1, len(means), squeeze=False)[0], dataset.splits.items(), strict=True
    ):
        ax.hist(split.foreground, bins=np.linspace(0, 1, 21), color=COLOURS.get(which, BACKDROP))
        ax.axvline(means[which], color="black")
        ax.set(xlabel=f"share of foreground, {which}", ylabel="images", xlim=(0, 1))
        ax.yaxis.get_major_locator().set_params(integer=True)
    return figure


@mpl.rc_context(STYLE)
def figure_stains(number: int, train: Split, count: int = 3) -> ReportFigure:
    """Composes images in their colours, and as haematoxylin, eosin and what these do not explain.

    Args:
        number: of the figure.
        train: the training images in their colours, which set the range of each stain. Images that have colour are
            shown, evenly chosen, if there are any.
        count: how many to show.
    """
    candidates = np.flatnonzero(train.coloured) if train.coloured.any() else np.arange(len(train))
    shown = train.part(candidates[np.unique(np.linspace(0, len(candidates) - 1, count).round().astype(int))])
    stains = unmix(shown.images, stain_range(train.images))
    caption = (
        f"Stains of {len(shown)} training images, one image a row. How to read it: dark is where much of a stain is, "
        "scaled from the 1st to the 99th percentile of the training images; the rest is what the two do not explain."
    )
    alt = f"{len(shown)} images in colours, and as haematoxylin, eosin and the rest."
    data = pd.DataFrame(
        [
            {"name": name, "channel": channel, "mean": amount.mean(), "standard deviation": amount.std()}
            for name, image in zip(shown.names, stains, strict=True)
            for channel, amount in zip(STAIN_NAMES, image.transpose(2, 0, 1), strict=True)
        ]
    )
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 1.95 * len(shown)))
    grid = figure.subplots(len(shown), 4, squeeze=False)
    for row, image, unmixed in zip(grid, shown.images, stains, strict=True):
        row[0].imshow(image)
        for ax, channel in zip(row[1:], unmixed.transpose(2, 0, 1), strict=True):
            ax.imshow(channel, cmap="gray_r", vmin=0, vmax=255)
        for ax in row:
            ax.set_axis_off()
    for ax, name in zip(grid[0], ("Colours", *STAIN_NAMES), strict=True):
        ax.set_title(name)
    return figure


def draw_overlay(ax: Axes, image: np.ndarray, mask_true: np.ndarray, mask_pred: np.ndarray) -> None:
    """Adds an image (height, width, 3) in grey under the colours of hits, misses and false alarms."""
    grey = np.repeat(image.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    kinds = {"hit": mask_true & mask_pred, "miss": mask_true & ~mask_pred, "false alarm": ~mask_true & mask_pred}
    for kind, pixels in kinds.items():
        grey[pixels] = 0.5 * grey[pixels] + 0.5 * np.array(to_rgb(OVERLAY[kind]))
    ax.imshow(grey)


def what_is_missed(mask_true: Bool[np.ndarray, "height width"], mask_pred: Bool[np.ndarray, "height width"]) -> str:
    """Returns what a prediction gets wrong, in a few words.

    An object is a connected part of the true mask, and large where it holds LARGE of the foreground; it is missed where
    less than half of it is predicted. Where there is no large object, or more background is predicted than foreground
    missed, shares of pixels say more.
    """
    if (mask_true == mask_pred).all():
        return "every pixel right"
    if not mask_true.any():
        return f"no foreground, {_share(mask_pred.mean())} predicted"
    if not mask_pred.any():
        return "nothing found"
    missed, alarms = (mask_true & ~mask_pred).sum(), (mask_pred & ~mask_true).sum()
    lost = f"{_share(missed / mask_true.sum())} of the foreground missed"
    if alarms > missed:
        called = f"{_share(alarms / (~mask_true).sum())} of the background called foreground"
        return f"{called}, {lost}" if missed else called
    objects = label(mask_true)
    sizes, found = (np.bincount(objects[mask], minlength=objects.max() + 1) for mask in (mask_true, mask_pred))
    large = np.flatnonzero(sizes >= LARGE * sizes[1:].sum())
    mostly, count = int((2 * found[large] < sizes[large]).sum()), len(large)
    if not mostly:
        return lost
    which = f"{mostly} of {count}" if mostly < count else {1: "the only", 2: "both"}.get(count, f"all {count}")
    return f"{which} large object{'s' * (count > 1)} mostly missed"


def _share(of_one: float) -> str:
    return "under 1%" if 0 < of_one < 0.01 else f"{of_one:.0%}"


def figure_extreme_image(
    number: int, which: Literal["best", "worst"], runs: Sequence[Run], dataset: Dataset
) -> ReportFigure:
    """Composes the first run's prediction of the test image with the highest or the lowest DSC, averaged over runs.

    Args:
        number: of the figure.
        which: "best" or "worst".
        runs: of one variant. dataset: they were scored on.
    """
    by_image = image_scores({"baseline": runs}, dataset)
    name = str(extreme_images(by_image)[which].name)
    scores = by_image.loc[("baseline", runs[0].config.seed, "test", name)]
    probability = runs[0].probabilities(dataset.test, name)
    image, mask_true = dataset.test.pair(name)
    n_images, n_seeds = len(dataset.test), len(runs)
    return figure_prediction(number, which, name, image, mask_true, probability, scores, n_images, n_seeds)


@mpl.rc_context(STYLE)
def figure_prediction(
    number: int,
    which: str,
    name: str,
    image: UInt8[np.ndarray, "height width 3"],
    mask_true: Bool[np.ndarray, "height width"],
    probability: Float32[np.ndarray, "height width"],
    scores: pd.Series,
    n_images: int,
    n_seeds: int,
) -> ReportFigure:
    """Composes input, truth, probability and overlay of one test image.

    Args:
        number: of the figure.
        which: "best" or "worst". name: of the image.
        image: RGB. mask_true: True in the foreground. probability: of the foreground, in [0, 1].
        scores: "dsc" and "dice" of this prediction.
        n_images, n_seeds: how many images it was chosen from, by a mean over how many runs.
    """
    mask_pred = probability > THRESHOLD
    numbers = f"DSC {scores['dsc']:.3f}, Dice {scores['dice']:.3f}"
    parts_pred, parts_true = (label(mask, return_num=True)[1] for mask in (mask_pred, mask_true))
    caption = (
        f"{which.capitalize()} of {n_images} test images by DSC: {name}, {what_is_missed(mask_true, mask_pred)} "
        f"({numbers}). Chosen by its mean DSC over {count_of_runs(n_seeds)}; probability and overlay are the first "
        f"run's. Foreground is where the probability exceeds {THRESHOLD}: it falls into {parts_pred} connected parts, "
        f"the truth into {parts_true}."
    )
    hits, misses, alarms = (
        pixels.mean() for pixels in (mask_true & mask_pred, mask_true & ~mask_pred, ~mask_true & mask_pred)
    )
    alt = (
        f"Four pictures of {name}: the input; its true mask, {mask_true.mean():.0%} of the image; the predicted "
        f"probability, from {probability.min():.2f} to {probability.max():.2f}; and an overlay in which {hits:.0%} of "
        f"pixels are hits, {misses:.0%} misses and {alarms:.0%} false alarms. {numbers}."
    )
    shares = {"foreground": mask_true.mean(), "hits": hits, "misses": misses, "false alarms": alarms}
    data = pd.DataFrame([{"name": name, **scores, **shares}])
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 2.35))
    axes = figure.subplots(1, 4)
    axes[0].imshow(image)
    axes[1].imshow(mask_true, cmap="gray", vmin=0, vmax=1)
    shown = axes[2].imshow(probability, cmap="viridis", vmin=0, vmax=1)
    draw_overlay(axes[3], image, mask_true, mask_pred)
    for ax, title in zip(axes, ("Input", "Truth", "Probability", "Overlay"), strict=True):
        ax.set_title(title)
        ax.set_axis_off()
    figure.colorbar(shown, cax=axes[2].inset_axes((0, -0.09, 1, 0.05)), orientation="horizontal", ticks=(0, 0.5, 1))
    axes[3].legend(
        handles=[Patch(color=colour, label=kind) for kind, colour in OVERLAY.items()], loc="upper center",
        bbox_to_anchor=(0.5, 0), ncols=3, fontsize=7, handlelength=0.8, columnspacing=0.7, handletextpad=0.3,
    )  # fmt: skip
    return figure
