"""Verdicts and effects in tables and sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from lib.claims.intervals import FEWEST_SEEDS, MARGIN, effect_by_seed, fold_contrast, image_differences
from lib.claims.verdicts import METRICS, PRIMARY, Numbers, by_fold_of, contrasts, new_ones, numbers_of, without_nan
from lib.data.dataset import Dataset
from lib.runs.scores import Evidence


def with_interval(numbers: Mapping[str, Any]) -> str:
    """Returns an effect and, where it is known, its interval: "+0.012 [-0.003, +0.027]"."""
    if numbers.get("effect") is None:
        return "-"
    effect = f"{numbers['effect']:+.3f}"
    return effect if numbers["ci_low"] is None else f"{effect} [{numbers['ci_low']:+.3f}, {numbers['ci_high']:+.3f}]"


def verdict_table(
    judged: Sequence[Numbers], section: str = "", reference: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """Returns the verdicts on the claims of a section, or of all, with effects and intervals in both scores.

    Args:
        judged: as `judge` returns it.
        section: "2.1", or "2.2 a"; empty for all.
        reference: as `lib.claims.reference.reference_for` returns it; its verdicts make one more column.
    """
    rows: dict[str, dict[str, str]] = {}
    for claim in judged:
        if claim["section"].startswith(section):
            row = rows.setdefault(claim["id"], {"the study says that": claim["statement"]})
            name = METRICS[claim["metric"]]
            row |= {name: claim["verdict"], f"effect in {name}": with_interval(claim)}
    if reference is not None:
        column = f"in {reference['seeds']} runs on {reference['name']}: DSC, Dice"
        for claim_id, row in rows.items():
            row[column] = ", ".join(reference["verdicts"][claim_id][metric] for metric in METRICS)
    return pd.DataFrame(rows).T.rename_axis("claim")


def explain(claim: Numbers, other: Numbers) -> str:
    """Returns a paragraph on one claim as judged in DSC and in Dice, whose words come from the numbers."""
    if claim["missing"]:
        return f"Not run here: it takes {claim['missing']}."
    if claim["verdict"] == other["verdict"]:
        told = [f"**{claim['verdict'].capitalize()}** in both scores."]
    else:
        told = [f"**{claim['verdict'].capitalize()}** in DSC, **{other['verdict']}** in Dice: the two scores disagree."]
    pair = (claim, other)
    told.append(_in_both(claim["measure"], *pair))
    if claim["ci_low"] is None:
        return " ".join([*told, "There is no interval: too few runs or patients, or scores that do not differ."])
    whom = f"{claim['n_patients']} patients" if claim["n_patients"] else "images taken as independent of each other"
    if claim.get("n_folds"):
        told.append(f"The interval is over {claim['n_folds']} folds, which divide {whom}.")
    elif claim["id"] == "C2":
        told.append(f"The interval is over {whom}, with the score's mean over {claim['n_seeds']} runs as it is.")
    else:
        told.append(f"The interval is over {claim['n_seeds']} runs and {whom}.")
    if claim["primary"]:
        told.append("It is adjusted for six contrasts by Holm's procedure.")
    if not claim.get("n_folds") and claim["n_seeds"] < FEWEST_SEEDS:
        told.append(f"Fewer than {FEWEST_SEEDS} runs decide nothing.")
    if claim["id"] == "C5c":
        told.append(f"It and those below are widened for {len(claim['also'])} comparisons, after Bonferroni.")
    if any(c["verdict"] == "supported" and abs(c["effect"]) < MARGIN for c in pair) and claim["id"] != "C3c":
        told.append(f"An effect below {MARGIN} hardly matters.")
    for one, two in zip(claim["also"], other["also"], strict=True):
        told.append(_in_both(one["measure"], one, two))
    if "untrained" in claim:
        told.append(
            f"Of {claim['n_seeds']} runs of the deeper network {claim['untrained']} in DSC and {other['untrained']} in "
            f"Dice end no more than {MARGIN} above that answer."
        )
    if claim.get("first_gradients"):
        deeper, shallower = (claim["first_gradients"][name] for name in ("deeper", "baseline"))
        told.append(
            f"Its first layer's gradient has a norm of {deeper:.2g} in the first epoch, the shallower network's of "
            f"{shallower:.2g}."
        )
    return " ".join(told)


def _in_both(measure: str, dsc: Numbers, dice: Numbers) -> str:
    return f"{measure[0].upper()}{measure[1:]}: {with_interval(dsc)} in DSC and {with_interval(dice)} in Dice."


def effects_table(evidence: Evidence, dataset: Dataset, variant: str) -> pd.DataFrame:
    """Returns how a variant differs from the baseline, with intervals over seeds and patients and over seeds alone.

    The former are adjusted where the contrast is one of PRIMARY, and the table says so.
    """
    rows = {}
    for metric, name in METRICS.items():
        found = contrasts(evidence.by_image, dataset, metric)
        differences = image_differences(evidence.by_image, variant, metric)
        for quantity in ("test", "train", "gap"):
            of, above = found[variant, quantity], sum(e > 0 for e in effect_by_seed(differences, quantity))
            numbers = without_nan(asdict(of))
            seeds = {"effect": of.effect, "ci_low": numbers["seed_low"], "ci_high": numbers["seed_high"]}
            rows[f"{name}, {quantity}"] = {
                "variant minus baseline [95% interval]": with_interval(numbers),
                "adjusted": "for six" if (variant, quantity) in PRIMARY else "-",
                "over seeds alone": with_interval(seeds).partition(" ")[2] or "-",
                "above 0": f"{above} of {of.n_seeds} pairs",
            }
    return pd.DataFrame(rows).T


def effects_in_folds(scores: pd.DataFrame, labels: Mapping[str, str], dataset: Dataset) -> pd.DataFrame:
    """Returns how variants differ from the baseline on what was held out in the folds, and in the gap, with intervals.

    Args:
        scores: as `lib.runs.scores.fold_scores` gives them. labels: of the variants, in their order.
        dataset: tells whether its patients are known.
    """
    rows = {
        label: {
            f"{name}, {told} [95% interval]": with_interval(
                without_nan(numbers_of(fold_contrast(by_fold_of(scores, variant, "baseline", metric, quantity))))
            )
            for metric, name in METRICS.items()
            for quantity, told in (("test", new_ones(dataset)), ("gap", "gap"))
        }
        for variant, label in labels.items()
        if variant != "baseline"
    }
    return pd.DataFrame(rows).T.rename_axis("minus baseline")
