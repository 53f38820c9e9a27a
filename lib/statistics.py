"""Paired differences between variants; nothing here knows of networks."""

from collections.abc import Sequence

import numpy as np
import pandas as pd


def paired_differences(scores: pd.DataFrame, variant: str, metric: str) -> pd.DataFrame:
    """Returns how a variant's runs differ from the baseline's runs of the same seeds, seed by seed.

    Args:
        scores: indexed by variant, seed and split, as `lib.experiments.score_table` gives them.
        variant: the one compared with "baseline".
        metric: a column of the scores.

    Returns:
        Variant minus baseline: one row per seed, columns "train", "test", and "gap" (train minus test).

    Raises:
        ValueError: the two do not have the same seeds.
    """
    by_split = scores[metric].unstack("split")[["train", "test"]]
    by_split["gap"] = by_split["train"] - by_split["test"]
    ours, baseline = by_split.loc[variant], by_split.loc["baseline"]
    if not ours.index.equals(baseline.index):
        raise ValueError(f"seeds: expected those of the baseline, {list(baseline.index)}, found {list(ours.index)}")
    return ours - baseline


def describe_differences(scores: pd.DataFrame, variant: str, metrics: Sequence[str] = ("dsc", "dice")) -> pd.DataFrame:
    """Returns a table of the paired differences: no more than a description of these runs.

    Args:
        scores, variant: as in `paired_differences`.
        metrics: columns of the scores.

    Returns:
        One row per metric and quantity (test, train, gap) with mean, lowest and highest difference over the
        pairs of runs, and in how many of them the variant was above the baseline.
    """
    names = {"dsc": "DSC", "dice": "Dice", "iou": "IoU", "loss": "loss"}
    rows = []
    for metric in metrics:
        differences = paired_differences(scores, variant, metric)
        for quantity in ("test", "train", "gap"):
            values = differences[quantity]
            rows.append(
                {
                    "variant minus baseline": f"{names[metric]}, {quantity}",
                    "mean": f"{values.mean():+.3f}",
                    "lowest": f"{values.min():+.3f}",
                    "highest": f"{values.max():+.3f}",
                    "above the baseline": f"{(values > 0).sum()} of {len(values)} pairs",
                }
            )
    return pd.DataFrame(rows).set_index("variant minus baseline")


def signed_mean(values: pd.Series) -> str:
    """Returns "+0.012" for one value, "+0.012 on average over 3 pairs of runs" for several."""
    mean = f"{values.mean():+.3f}"
    return mean if len(values) == 1 else f"{mean} on average over {len(values)} pairs of runs"


def caution(scores: pd.DataFrame, variant: str, metric: str = "dsc") -> str:
    """Returns a sentence that sets a variant's difference on test images beside the scatter of the runs.

    Its wording follows the numbers: the baseline's own runs, which differ in nothing but their seed, show how far
    two runs lie apart by chance.
    """
    n_seeds = len(scores.index.unique("seed"))
    if n_seeds == 1:
        return "With a single run of each nothing tells this difference from the chance of one initialisation."
    baseline = scores.loc["baseline"].xs("test", level="split")[metric]
    difference = abs(paired_differences(scores, variant, metric)["test"].mean())
    spread = float(np.ptp(baseline))
    side = "less" if spread < difference else "more"
    return (
        f"The baseline's own {n_seeds} runs, which differ in nothing but their seed, lie {spread:.3f} apart on the "
        f"test images: {side} than this difference. {n_seeds} pairs of runs give no verdict."
    )
