"""Tables of the scores of runs."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from lib.data.dataset import Dataset, Split
from lib.evaluation import THRESHOLD, constant_scores, predict
from lib.metrics import confusion
from lib.runs.plan import SEARCHED
from lib.runs.run import Run
from lib.shapes import surface_dice

THRESHOLDS = np.linspace(0.05, 0.95, 19)  # among which one is chosen on training images


def image_scores(runs: Mapping[str, Sequence[Run]], dataset: Dataset, epoch: int | None = None) -> pd.DataFrame:
    """Returns the scores image by image, after the last epoch of each run or after a given one.

    Returns:
        Indexed by variant, seed, split (as in `Dataset.splits`) and image; one column for each of METRICS.

    Raises:
        KeyError: a run was not scored after that epoch.
    """
    scores = {
        (variant, run.config.seed, name): pd.DataFrame(
            run.scores[epoch or run.config.epochs][name], index=list(split.names)
        )
        for variant, of_variant in runs.items()
        for run in of_variant
        for name, split in dataset.splits.items()
    }
    return pd.concat(scores, names=["variant", "seed", "split", "image"])


def best_threshold(
    probabilities: Float32[Tensor, "image height width"], masks: Bool[Tensor, "image height width"]
) -> float:
    """Returns which of THRESHOLDS gives masks above it the highest mean Dice; the lowest of several."""
    return max(THRESHOLDS.tolist(), key=lambda at: confusion(probabilities > at, masks).dice.mean().item())


def further_scores(runs: Mapping[str, Sequence[Run]], dataset: Dataset) -> pd.DataFrame:
    """Returns what the stored scores leave out, from the final networks' predictions of each test image.

    Returns:
        Indexed as by `image_scores`, for the split "test" alone. All in [0, 1]: "surface", the `surface_dice`;
        "foreground", the share of pixels that is predicted; "dice_chosen", Dice above the run's `best_threshold` on
        training images.
    """
    masks_train, masks = (torch.from_numpy(split.masks) for split in (dataset.train, dataset.test))
    tables = {}
    for variant, of_variant in runs.items():
        for run in of_variant:
            network = run.network()
            of_train, of_test = (predict(network, torch.from_numpy(s.images)) for s in (dataset.train, dataset.test))
            mask_pred = of_test > THRESHOLD
            surface = [surface_dice(*pair) for pair in zip(mask_pred.numpy(), dataset.test.masks, strict=True)]
            chosen = confusion(of_test > best_threshold(of_train, masks_train), masks).dice
            foreground = mask_pred.double().mean(dim=(1, 2))
            tables[variant, run.config.seed, "test"] = pd.DataFrame(
                {"surface": surface, "foreground": foreground, "dice_chosen": chosen}, index=list(dataset.test.names)
            )
    return pd.concat(tables, names=["variant", "seed", "split", "image"])


def mean_scores(by_image: pd.DataFrame) -> pd.DataFrame:
    """Returns the means over images of `image_scores`, indexed by variant, seed and split."""
    return by_image.groupby(["variant", "seed", "split"], sort=False).mean()


def final_means(run: Run) -> dict[str, dict[str, float]]:
    """Returns the final scores of a run as means over images, by split and metric."""
    final = run.scores[run.config.epochs]
    return {
        split: {metric: fmean(values.tolist()) for metric, values in scores.items()} for split, scores in final.items()
    }


def fold_scores(runs: Mapping[str, Sequence[Run]], dataset: Dataset) -> pd.DataFrame:
    """Returns the final scores of runs in folds, image by image: each image is held out once in a division.

    Returns:
        As `image_scores`: "seed" is the number of the division. The split "test" has the score by the network that did
        not see the image, "train" the mean of the scores by those that did. Images are called as by `Fold.names`.
    """
    folds = {run.fold: run.fold.divide(dataset) for of_variant in runs.values() for run in of_variant if run.fold}
    names = np.array(next(iter(folds)).names(dataset))
    tables = {
        (variant, run.fold.repeat, split, run.fold.index): pd.DataFrame(
            run.scores[run.config.epochs][split], index=names[folds[run.fold][split]]
        )
        for variant, of_variant in runs.items()
        for run in of_variant
        if run.fold
        for split in ("train", "test")
    }
    levels = ["variant", "seed", "split", "image"]
    return pd.concat(tables, names=[*levels[:3], "fold", "image"]).groupby(levels).mean()


def search_scores(in_folds: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Returns mean scores on held-out images by parameter of SEARCHED: indexed by value ("variant") and division.

    Argument as `fold_scores` returns it.
    """
    held_out = mean_scores(in_folds).xs("test", level="split")
    return {
        parameter: pd.concat({value: held_out.loc[name] for value, name in values.items()}, names=["variant"])
        for parameter, values in SEARCHED.items()
    }


def constant_means(split: Split) -> dict[str, dict[str, float]]:
    """Returns what the two answers that look at no image score on a split, as means over images: DSC and Dice."""
    by_image = constant_scores(torch.from_numpy(split.masks))
    return {
        answer: {metric: of_metric.mean().item() for metric, of_metric in scores.items()}
        for answer, scores in by_image.items()
    }


def extreme_images(by_image: pd.DataFrame) -> dict[str, pd.Series]:
    """Returns the best and the worst test image of the baseline by DSC, each with its mean scores over all runs."""
    means = by_image.loc["baseline"].xs("test", level="split").groupby("image", sort=False).mean()
    return {"best": means.loc[means["dsc"].idxmax()], "worst": means.loc[means["dsc"].idxmin()]}
