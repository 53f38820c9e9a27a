"""The claims of the study, and what the runs at hand say of each."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8
from scipy import ndimage
from skimage.color import rgb2lab

from lib.data import Dataset
from lib.statistics import (
    FEWEST_SEEDS,
    MARGIN,
    Contrast,
    contrast,
    directional_verdict,
    holm,
    image_differences,
    noninferiority_verdict,
    spearman,
)

METRICS = {"dsc": "DSC", "dice": "Dice"}  # the claims were made on the first


@dataclass(frozen=True)
class Claim:
    """What the study says, in our words, and which number would show it.

    Attributes:
        id, section: of the claim and of the section that makes it.
        statement: a clause, to be read after "The study says that".
        measure: what is measured, in words.
        variant, quantity: compared with the baseline on "test", "train" or "gap"; empty where it is no such contrast.
        claimed: 1 if the effect is claimed above 0, -1 below, 0 if claimed not to be worse than the margin.
        missing: what a run would need that has nothing to say on the claim.
    """

    id: str
    section: str
    statement: str
    measure: str
    variant: str = ""
    quantity: str = ""
    claimed: int = 1
    missing: str = ""


CLAIMS = (
    Claim(
        "C1",
        "2.1 b",
        "the deeper network could not be trained, the shallower one could",
        "training score, shallow minus deep",
        missing="the deeper network",
    ),
    Claim(
        "C2",
        "2.1 c",
        "borders are more clearly marked where the result is good",
        "rank correlation of border contrast and score over test images",
    ),
    Claim(
        "C3a",
        "2.2 a",
        "noise makes test performance slightly better",
        "test score, noise minus baseline",
        "noise",
        "test",
    ),
    Claim("C3b", "2.2 a", "noise makes the gap smaller", "gap, noise minus baseline", "noise", "gap", -1),
    Claim(
        "C3c",
        "2.2 a",
        f"noise does not degrade training performance (by {MARGIN} or more)",
        "training score, noise minus baseline",
        "noise",
        "train",
        0,
    ),
    Claim(
        "C4a",
        "2.2 b",
        "dropout makes the gap smaller",
        "gap, dropout with its longer training minus baseline",
        "dropout",
        "gap",
        -1,
    ),
    Claim(
        "C4b",
        "2.2 b",
        "one dropout layer at 0.5 works better than two at 0.2",
        "validation score, one layer minus two",
        missing="a network with two dropout layers",
    ),
    Claim(
        "C4c",
        "2.2 b",
        "dropout needs more epochs",
        "training score at equal epochs, dropout minus baseline",
        missing="dropout at the baseline's number of epochs",
    ),
    Claim("C5a", "2.2 c", "L2 makes the gap smaller", "gap, L2 minus baseline", "l2", "gap", -1),
    Claim(
        "C5b",
        "2.2 c",
        "L2 closes the gap only by hurting training, not by improving test",
        "training score, L2 minus baseline",
        "l2",
        "train",
        -1,
    ),
    Claim(
        "C5c",
        "2.2 c",
        "5e-5 is the best coefficient",
        "validation score, 5e-5 minus the best other",
        missing="a search for the coefficient",
    ),
)
# The intervals of these are adjusted for their number. No claim names the test scores of dropout and L2.
PRIMARY = (("noise", "test"), ("noise", "gap"), ("dropout", "gap"), ("l2", "gap"), ("dropout", "test"), ("l2", "test"))


def border_contrast(image: UInt8[np.ndarray, "height width 3"], mask: Bool[np.ndarray, "height width"]) -> float:
    """Returns how the colours on the two sides of a mask's border differ: the distance of their means in CIELAB.

    Each side is the band of three pixels along the border; nan where the mask has no border.
    """
    inside = mask & ~ndimage.binary_erosion(mask, iterations=3, border_value=1)
    outside = ~mask & ndimage.binary_dilation(mask, iterations=3)
    if not inside.any() or not outside.any():
        return float("nan")
    colours = rgb2lab(image)
    return float(np.linalg.norm(colours[inside].mean(axis=0) - colours[outside].mean(axis=0)))


def patients_of(dataset: Dataset) -> dict[tuple[str, str], str] | None:
    """Returns whom each (split, image) shows, None where that is not known for all."""
    patients: dict[tuple[str, str], str] = {}
    for which, split in dataset.splits.items():
        if split.patients is None:
            return None
        patients |= {(which, name): who for name, who in zip(split.names, split.patients, strict=True)}
    return patients


def contrasts(by_image: pd.DataFrame, dataset: Dataset, metric: str) -> dict[tuple[str, str], Contrast]:
    """Returns every variant minus the baseline on test, train and gap, those of PRIMARY adjusted as one family."""
    patients = patients_of(dataset)
    found = {}
    for variant in by_image.index.unique("variant").drop("baseline"):
        differences = image_differences(by_image, variant, metric)
        for quantity in ("test", "train", "gap"):
            found[variant, quantity] = contrast(differences, quantity, patients)
    adjusted = holm({" ".join(key): found[key] for key in PRIMARY if key in found})
    return found | {key: adjusted[" ".join(key)] for key in PRIMARY if key in found}


def judge(by_image: pd.DataFrame, dataset: Dataset) -> list[dict[str, Any]]:
    """Returns what the runs say of every claim, once for each of METRICS.

    Args:
        by_image: as `lib.experiments.image_scores` gives them.
        dataset: that they were trained and scored on.

    Returns:
        Dictionaries as in results.json: id, section, statement, measure, metric, verdict, effect, ci_low, ci_high,
        p_value, seed_low, seed_high, n_seeds, n_images, n_patients, primary; None for numbers that are not known,
        and verdict "not run" with the reason in `missing` where no run has anything to say.
    """
    judged = []
    for metric in METRICS:
        found = contrasts(by_image, dataset, metric)
        for claim in CLAIMS:
            key = (claim.variant, claim.quantity)
            told: dict[str, Any] = {
                "id": claim.id, "section": claim.section, "statement": claim.statement, "measure": claim.measure,
                "metric": metric, "primary": key in PRIMARY, "verdict": "not run", "missing": claim.missing or None,
            }  # fmt: skip
            if claim.id == "C2":
                told |= _judge_borders(by_image, dataset, metric)
            elif key in found:
                numbers = asdict(found[key])
                low, high, seeds = (numbers[name] for name in ("ci_low", "ci_high", "n_seeds"))
                told |= numbers | {"missing": None}
                told["verdict"] = (
                    directional_verdict(low, high, seeds, claim.claimed)
                    if claim.claimed
                    else noninferiority_verdict(low, high, seeds)
                )
                if claim.id == "C5b" and found["l2", "test"].ci_low > 0 and seeds >= FEWEST_SEEDS:
                    told["verdict"] = "contradicted"  # the test did improve
            if np.isnan(told.get("ci_low", 0.0)):
                told["p_value"] = None  # which `holm` counts as 1
            judged.append({name: None if value != value else value for name, value in told.items()})
    return judged


def _judge_borders(by_image: pd.DataFrame, dataset: Dataset, metric: str) -> dict[str, Any]:
    split = dataset.test
    contrast_of = np.array([border_contrast(*split.pair(name)) for name in split.names])
    scores = by_image[metric].loc["baseline"].xs("test", level="split").groupby("image", sort=False).mean()
    known = ~np.isnan(contrast_of)
    patients = None if split.patients is None else list(np.array(split.patients)[known])
    found = spearman(contrast_of[known], scores.loc[list(split.names)].to_numpy()[known], patients)
    seeds = len(by_image.index.unique("seed"))
    verdict = directional_verdict(found.ci_low, found.ci_high, seeds, margin=0)
    told = asdict(found)
    return {"effect": told.pop("rho"), **told, "n_seeds": seeds, "verdict": verdict, "missing": None}


def explain(claim: Mapping[str, Any]) -> str:
    """Returns a sentence for one judged claim, whose words come from its numbers."""
    if claim["verdict"] == "not run":
        return f"Not run here: it takes {claim['missing']}."
    effect = f"{claim['measure']}: {claim['effect']:+.3f}" if claim["effect"] is not None else claim["measure"]
    if claim["ci_low"] is None:
        return f"**{claim['verdict'].capitalize()}.** {effect}; too few runs or patients for an interval."
    of_whom = f"{claim['n_patients']} patients" if claim["n_patients"] else "images taken as independent of each other"
    interval = (
        f"95% interval {claim['ci_low']:+.3f} to {claim['ci_high']:+.3f} over {claim['n_seeds']} runs and {of_whom}"
    )
    adjusted = ", adjusted for six contrasts" if claim["primary"] else ""
    few = f" Fewer than {FEWEST_SEEDS} runs decide nothing." if claim["n_seeds"] < FEWEST_SEEDS else ""
    small = abs(claim["effect"]) < MARGIN and claim["verdict"] == "supported" and claim["id"] != "C3c"
    trivial = f" The effect is smaller than {MARGIN}, which hardly matters." if small else ""
    return f"**{claim['verdict'].capitalize()}.** {effect}, {interval}{adjusted}.{few}{trivial}"
