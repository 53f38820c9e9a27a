"""Paired differences between variants; nothing here knows of networks."""

import numpy as np
import pandas as pd


def paired_differences(scores: pd.DataFrame, variant: str, metric: str) -> pd.DataFrame:
    """Returns how a variant's runs differ from the baseline's runs of the same seeds.

    Args:
        scores: indexed by variant, seed and split, as `lib.experiments.mean_scores` gives them.
        variant: the one compared with "baseline".
        metric: a column of the scores.

    Returns:
        Variant minus baseline: one row per seed, columns "test", "train", and "gap" (train minus test).

    Raises:
        ValueError: the two do not have the same seeds.
    """
    by_split = scores[metric].unstack("split")[["test", "train"]]
    by_split["gap"] = by_split["train"] - by_split["test"]
    ours, baseline = by_split.loc[variant], by_split.loc["baseline"]
    if not ours.index.equals(baseline.index):
        raise ValueError(f"seeds: expected those of the baseline, {list(baseline.index)}, found {list(ours.index)}")
    return ours - baseline


def describe_differences(scores: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Returns mean, lowest and highest of `paired_differences` over the pairs, one row per metric and quantity."""
    names = {"dsc": "DSC", "dice": "Dice"}
    differences = pd.concat({names[metric]: paired_differences(scores, variant, metric) for metric in names}, axis=1)
    table = differences.agg(["mean", "min", "max"]).T.map("{:+.3f}".format)
    table.columns = pd.Index(["mean", "lowest", "highest"], name="variant minus baseline")
    table["above the baseline"] = [f"{count} of {len(differences)} pairs" for count in (differences > 0).sum()]
    table.index = pd.Index([", ".join(row) for row in table.index])
    return table


def caution(scores: pd.DataFrame, variant: str) -> str:
    """Returns a sentence that sets a variant's difference in test DSC beside the scatter of the baseline's own runs."""
    baseline = scores.loc["baseline"].xs("test", level="split")["dsc"]
    if len(baseline) == 1:
        return "A single run of each does not tell such differences from the chance of one initialisation."
    difference = round(abs(paired_differences(scores, variant, "dsc")["test"].mean()), 3)
    spread = round(float(np.ptp(baseline)), 3)
    relation = "less than" if spread < difference else "more than" if spread > difference else "as far as"
    return (
        f"The baseline's own {len(baseline)} runs, which differ in nothing but their seed, lie {spread:.3f} apart in "
        f"test DSC, {relation} the {difference:.3f} between the two. {len(baseline)} pairs of runs give no verdict."
    )


def direction(difference: float) -> str:
    """Returns "up", "down", or "nowhere" for a difference that is zero as printed."""
    return "nowhere" if abs(difference) < 0.0005 else "up" if difference > 0 else "down"
