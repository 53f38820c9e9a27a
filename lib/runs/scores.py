"""Tables of the scores of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch

from lib.data.dataset import Dataset, Split
from lib.evaluation import constant_scores
from lib.runs.plan import EXPERIMENTS
from lib.runs.run import Run


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


def mean_scores(by_image: pd.DataFrame) -> pd.DataFrame:
    """Returns the means over images of `image_scores`, indexed by variant, seed and split."""
    return by_image.groupby(["variant", "seed", "split"], sort=False).mean()


def fold_scores(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Returns the final scores of runs in folds, as means over images and over the runs of a fold.

    Returns:
        Indexed by variant, fold and split ("test" is what was held out); one column for each of METRICS.
    """
    rows = [
        {"variant": variant, "fold": run.fold.index, "split": split}
        | {metric: values.mean().item() for metric, values in of_split.items()}
        for variant, of_variant in runs.items()
        for run in of_variant
        if run.fold is not None
        for split, of_split in run.scores[run.config.epochs].items()
    ]
    return pd.DataFrame(rows).groupby(["variant", "fold", "split"], sort=False).mean()


@dataclass(frozen=True)
class Evidence:
    """The scores that claims are judged by.

    Attributes:
        by_image: final scores of VARIANTS, as `image_scores` gives them; in a full study of "deeper", too.
        at_epoch: the last epoch that baseline and dropout were both scored after, None where there is none.
        equal_epochs: `image_scores` of these two after that epoch, None where there is none.
        folds: `fold_scores` by experiment; empty but in a full study.
        first_gradients: mean norms of the gradient of the first layer's weights in the first epoch, of "baseline" and
            "deeper"; empty but in a full study.
    """

    by_image: pd.DataFrame
    at_epoch: int | None
    equal_epochs: pd.DataFrame | None
    folds: Mapping[str, pd.DataFrame]
    first_gradients: Mapping[str, float] = field(default_factory=dict)


def evidence(runs: Mapping[str, Mapping[str, Sequence[Run]]], dataset: Dataset) -> Evidence:
    """Returns the scores of the runs of a report, as `report_runs` gives them."""
    variants = runs["variants"]
    pair = {name: variants[name] for name in ("baseline", "dropout")}
    compared = {"baseline": variants["baseline"], **runs["deeper"]} if "deeper" in runs else {}
    scored = set.intersection(*(set(run.scores) for of_variant in pair.values() for run in of_variant))
    return Evidence(
        by_image=image_scores({**variants, **runs.get("deeper", {})}, dataset),
        at_epoch=max(scored, default=None),
        equal_epochs=image_scores(pair, dataset, max(scored)) if scored else None,
        folds={name: fold_scores(of_name) for name, of_name in runs.items() if EXPERIMENTS[name].folds},
        first_gradients={
            name: float(np.mean([run.gradient_norms[0]["conv1.weight"] for run in of_name]))
            for name, of_name in compared.items()
        },
    )


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
