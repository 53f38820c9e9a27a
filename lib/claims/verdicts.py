"""The claims of the study, and what the runs at hand say of each."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, UInt8
from scipy import ndimage
from skimage.color import rgb2lab

from lib.claims.intervals import (
    FEWEST_SEEDS,
    LEVEL,
    MARGIN,
    Contrast,
    contrast,
    effect_by_seed,
    fold_contrast,
    holm,
    image_differences,
    rank_correlation,
    spearman,
)
from lib.data.dataset import Dataset
from lib.evaluation import constant_scores
from lib.runs.plan import SEARCHED
from lib.runs.scores import Evidence

Verdict = Literal["supported", "not supported", "contradicted", "undecided"]


def directional_verdict(
    low: float, high: float, n_seeds: int | None, claimed: int = 1, margin: float = MARGIN
) -> Verdict:
    """Returns the word for a claim that the effect is above 0 (claimed=1) or below 0 (claimed=-1).

    One interval decides the word, so that it can be read off the picture; claims that say more take further ones, in
    this module. In the claimed direction:
        supported       0 < low
        contradicted    high < 0
        not supported   -margin < low <= 0 <= high < margin: the effect, if any, is smaller than the margin
        undecided       all else, bounds that are nan or equal (networks that all answer alike), and fewer than
                        FEWEST_SEEDS seeds
    n_seeds is None for an interval over folds, in each of which seed and patients are others: however few, their
    scatter is that of all sources together, so that their number is in the interval already. A supported effect may
    still be smaller than the margin: the interval shows it. "Not supported" within a 95% interval is an equivalence
    test (`Contrast.p_equivalent`) at 2.5%, stricter than the usual 5%.
    """
    low, high = (low, high) if claimed > 0 else (-high, -low)
    if n_seeds is not None and n_seeds < FEWEST_SEEDS:
        return "undecided"
    if not low < high:
        return "undecided"
    if low > 0:
        return "supported"
    if high < 0:
        return "contradicted"
    return "not supported" if -margin < low and high < margin else "undecided"


def noninferiority_verdict(low: float, high: float, n_seeds: int, margin: float = MARGIN) -> Verdict:
    """Returns the word for a claim that nothing is lost, or less than the margin: the effect is above -margin.

        supported       -margin < low
        contradicted    high < -margin
        undecided       all else, bounds that are nan, and fewer than FEWEST_SEEDS seeds
    It is the directional claim about the effect plus margin, with no room for "not supported" between the two.
    """
    return directional_verdict(low + margin, high + margin, n_seeds, margin=0)


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
    """

    id: str
    section: str
    statement: str
    measure: str
    variant: str = ""
    quantity: str = ""
    claimed: int = 1


CLAIMS = (
    Claim("C1", "2.1 b", "the deeper network could not be trained, the shallower one could",
          "training score, shallower network minus our reconstruction of the deeper"),
    Claim("C2", "2.1 c", "borders are more clearly marked where the result is good",
          "rank correlation of border contrast and score over test images"),
    Claim("C3a", "2.2 a", "noise makes test performance slightly better",
          "test score, noise minus baseline", "noise", "test"),
    Claim("C3b", "2.2 a", "noise makes the gap smaller", "gap, noise minus baseline", "noise", "gap", -1),
    Claim("C3c", "2.2 a", f"noise does not degrade training performance (by {MARGIN} or more)",
          "training score, noise minus baseline", "noise", "train", 0),
    Claim("C4a", "2.2 b", "dropout makes the gap smaller",
          "gap, dropout with its longer training minus baseline", "dropout", "gap", -1),
    Claim("C4b", "2.2 b", "one dropout layer at 0.5 works better than two at 0.2",
          "validation score, one layer minus two"),
    Claim("C4c", "2.2 b", "dropout needs more epochs",
          "training score after equal epochs, dropout minus baseline", claimed=-1),
    Claim("C5a", "2.2 c", "L2 makes the gap smaller", "gap, L2 minus baseline", "l2", "gap", -1),
    Claim("C5b", "2.2 c", "L2 closes the gap only by hurting training, not by improving test",
          "training score, L2 minus baseline", "l2", "train", -1),
    Claim("C5c", "2.2 c", "5e-5 is the best coefficient", "validation score, 5e-5 minus the best other"),
)  # fmt: skip
# The intervals of these are adjusted for their number. No claim names the test scores of dropout and L2.
PRIMARY = (("noise", "test"), ("noise", "gap"), ("dropout", "gap"), ("l2", "gap"), ("dropout", "test"), ("l2", "test"))
STUDYS_L2 = 5e-5
Numbers = dict[str, Any]


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
    return found | holm({key: found[key] for key in PRIMARY if key in found})


def judge(evidence: Evidence, dataset: Dataset) -> list[Numbers]:
    """Returns what the runs say of every claim, once for each of METRICS.

    Args:
        evidence: the scores of the runs at hand.
        dataset: that they were trained and scored on.

    Returns:
        Dictionaries as in results.json: id, section, statement, measure, metric, primary, verdict, effect, ci_low,
        ci_high, p_value, seed_low, seed_high, n_seeds, n_folds, n_images, n_patients, by_run (the effect in each pair
        of runs or fold) and `also`, other effects that belong to the claim; of C1 also `untrained`, how many runs of
        the deeper network end no more than the margin above the better trivial answer, and `first_gradients`, those
        of `Evidence`. Numbers that are not known are None. Where no run has anything to say, the verdict is "not
        run", and `missing` says what it takes.
    """
    special = {
        "C1": _judge_depth, "C2": _judge_borders, "C4b": _judge_layers, "C4c": _judge_epochs, "C5c": _judge_coefficient
    }  # fmt: skip
    judged = []
    for metric in METRICS:
        found = contrasts(evidence.by_image, dataset, metric)
        for claim in CLAIMS:
            told: Numbers = {
                "id": claim.id, "section": claim.section, "statement": claim.statement, "measure": claim.measure,
                "metric": metric, "primary": (claim.variant, claim.quantity) in PRIMARY,
                "verdict": "not run", "missing": None, "also": [],
            }  # fmt: skip
            if claim.id in special:
                told |= special[claim.id](evidence, dataset, metric)
            elif (claim.variant, claim.quantity) in found:
                told |= _judge_contrast(claim, evidence, dataset, metric, found)
            else:
                told["missing"] = f"the variant {claim.variant}"
            judged.append({name: without_nan(value) for name, value in told.items()})
    return judged


def without_nan(value: Any) -> Any:
    """Returns None in place of nan, also inside lists and dicts: JSON has no nan."""
    if isinstance(value, dict):
        return {name: without_nan(of_name) for name, of_name in value.items()}
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if value != value else value


_STUDY = {"missing": "`make study`"}


def new_ones(dataset: Dataset) -> str:
    """Returns what folds hold out: new patients, or new images where patients are not known."""
    return "new images" if patients_of(dataset) is None else "new patients"


def numbers_of(of: Contrast, by_run: Sequence[float] = ()) -> Numbers:
    told = asdict(of) | {"by_run": list(by_run)}
    return told | ({"p_value": None} if np.isnan(of.ci_low) else {})  # which `holm` counts as 1


def _brief(measure: str, of: Contrast) -> Numbers:
    return {"measure": measure, "effect": of.effect, "ci_low": of.ci_low, "ci_high": of.ci_high}


def by_fold_of(scores: pd.DataFrame, variant: str, other: str, metric: str, quantity: str = "test") -> list[float]:
    """Returns variant minus other in each fold, on what was held out ("test"), on "train", or the "gap" of the two."""
    by_split = scores[metric].unstack("split")
    values = by_split["train"] - by_split["test"] if quantity == "gap" else by_split[quantity]
    return [float(value) for value in values.loc[variant] - values.loc[other]]


def _in_folds(of: Contrast, by_fold: Sequence[float], dataset: Dataset) -> Numbers:
    patients = dataset.train.patients
    counts = {"n_folds": len(by_fold), "n_images": len(dataset.train)}
    return numbers_of(of, by_fold) | counts | {"n_patients": len(set(patients)) if patients else None}


def _judge_contrast(
    claim: Claim, evidence: Evidence, dataset: Dataset, metric: str, found: Mapping[tuple[str, str], Contrast]
) -> Numbers:
    of = found[claim.variant, claim.quantity]
    differences = image_differences(evidence.by_image, claim.variant, metric)
    told = numbers_of(of, effect_by_seed(differences, claim.quantity))
    bounds = (of.ci_low, of.ci_high, of.n_seeds)
    verdict = directional_verdict(*bounds, claim.claimed) if claim.claimed else noninferiority_verdict(*bounds)
    if not claim.claimed:
        told["p_value"] = of.p_above(-MARGIN)
    closed = _verdict_on_gap(found[claim.variant, "gap"], evidence.by_image[metric], claim.variant)
    if claim.quantity == "gap":
        verdict = closed
    also = []
    if claim.id == "C4a" and evidence.equal_epochs is not None:
        equal = image_differences(evidence.equal_epochs, claim.variant, metric)
        measure = f"after {evidence.at_epoch} epochs each"
        also.append(_brief(measure, contrast(equal, claim.quantity, patients_of(dataset))))
    if claim.id == "C5b":
        test, gap = found[claim.variant, "test"], found[claim.variant, "gap"]
        also += [_brief("test score, adjusted for six", test), _brief("gap, adjusted for six", gap)]
        if test.ci_low > 0 and of.n_seeds >= FEWEST_SEEDS:
            verdict = "contradicted"  # the test did improve
        elif verdict == "supported" and closed != "supported":
            verdict = closed  # training was hurt, and the gap did not close by it
        elif verdict == "supported" and not test.ci_high < MARGIN:
            verdict = "undecided"
    if "new patients" in evidence.folds:
        by_fold = by_fold_of(evidence.folds["new patients"], claim.variant, "baseline", metric, claim.quantity)
        also.append(_brief(f"on {new_ones(dataset)}", fold_contrast(by_fold)))
    return told | {"verdict": verdict, "also": also}


def _verdict_on_gap(gap: Contrast, scores: pd.Series, variant: str) -> Verdict:
    """Returns the word for "the gap becomes smaller", undecided where the gap's mean size went the other way.

    That is so on both sides of 0: a gap may fall below 0 and further than it was above, or rise towards it from below.
    """
    verdict = directional_verdict(gap.ci_low, gap.ci_high, gap.n_seeds, -1)
    means = scores.groupby(["variant", "split"]).mean().unstack("split")
    sizes = (means["train"] - means["test"]).abs()
    other_way = "contradicted" if sizes[variant] < sizes["baseline"] else "supported"
    return "undecided" if verdict == other_way else verdict


def _judge_depth(evidence: Evidence, dataset: Dataset, metric: str) -> Numbers:
    """Compares both networks also with the better answer that looks at no image, which is what "not trained" means.

    Supported only if the deeper network is not above that answer by the margin and the shallower one is; contradicted
    also if the deeper one is above it by the margin, since then it could be trained.
    """
    if "deeper" not in evidence.by_image.index.unique("variant"):
        return _STUDY
    scores = evidence.by_image.loc[["baseline", "deeper"], [metric]].xs("train", level="split", drop_level=False)
    answers = {name: scores[metric] for name, scores in constant_scores(torch.from_numpy(dataset.train.masks)).items()}
    single = max(answers.values(), key=lambda by_image: by_image.mean().item()).tolist()
    trivial = scores.loc[["deeper"]].rename(index={"deeper": "trivial"}, level="variant")
    trivial[metric] = trivial.index.get_level_values("image").map(dict(zip(dataset.train.names, single, strict=True)))
    scores = pd.concat([scores, trivial])

    def compare(variant: str, baseline: str) -> tuple[Contrast, list[float]]:
        differences = image_differences(scores, variant, metric, baseline)
        return contrast(differences, "train", patients_of(dataset)), effect_by_seed(differences, "train")

    of, by_run = compare("baseline", "deeper")
    shallower, _ = compare("baseline", "trivial")
    deeper, deeper_by_run = compare("deeper", "trivial")
    verdict = directional_verdict(of.ci_low, of.ci_high, of.n_seeds)
    if verdict == "supported" and not (deeper.ci_high < MARGIN < shallower.ci_low):
        verdict = "undecided"
    if of.n_seeds >= FEWEST_SEEDS and deeper.ci_low > MARGIN:
        verdict = "contradicted"
    also = [
        _brief("shallower network minus the better trivial answer", shallower),
        _brief("reconstructed deeper network minus the better trivial answer", deeper),
    ]
    untrained = sum(effect <= MARGIN for effect in deeper_by_run)
    extra = {"untrained": untrained, "first_gradients": dict(evidence.first_gradients)}
    return numbers_of(of, by_run) | {"verdict": verdict, "also": also} | extra


def _judge_borders(evidence: Evidence, dataset: Dataset, metric: str) -> Numbers:
    if dataset.stain != "rgb":
        return {"missing": "the colours, STAIN=rgb"}
    split = dataset.test
    contrast_of = np.array([border_contrast(*split.pair(name)) for name in split.names])
    by_run = evidence.by_image[metric].loc["baseline"].xs("test", level="split").unstack("seed").loc[list(split.names)]
    known = ~np.isnan(contrast_of)
    patients = None if split.patients is None else list(np.array(split.patients)[known])
    found = spearman(contrast_of[known], by_run.mean(axis=1).to_numpy()[known], patients)
    single = [rank_correlation(contrast_of[known], scores.to_numpy()[known]) for _, scores in by_run.items()]
    seeds = by_run.shape[1]
    verdict = directional_verdict(found.ci_low, found.ci_high, seeds, margin=0)
    told = asdict(found)
    return {"effect": told.pop("rho"), **told, "n_seeds": seeds, "by_run": single, "verdict": verdict}


def _judge_layers(evidence: Evidence, dataset: Dataset, metric: str) -> Numbers:
    if "dropout layers" not in evidence.folds:
        return _STUDY
    by_fold = by_fold_of(evidence.folds["dropout layers"], "one", "two", metric)
    of = fold_contrast(by_fold)
    return _in_folds(of, by_fold, dataset) | {"verdict": directional_verdict(of.ci_low, of.ci_high, None)}


def _judge_epochs(evidence: Evidence, dataset: Dataset, metric: str) -> Numbers:
    if evidence.equal_epochs is None:
        return {"missing": "more epochs, so that both are scored after the same number"}
    differences = image_differences(evidence.equal_epochs, "dropout", metric)
    of = contrast(differences, "train", patients_of(dataset))
    verdict = directional_verdict(of.ci_low, of.ci_high, of.n_seeds, -1)
    told = numbers_of(of, effect_by_seed(differences, "train"))
    return told | {
        "measure": f"training score after {evidence.at_epoch} epochs, dropout minus baseline",
        "verdict": verdict,
    }


def _judge_coefficient(evidence: Evidence, dataset: Dataset, metric: str) -> Numbers:
    """Supported if 5e-5 is above every other, contradicted if it is below one: intervals widened for their number.

    Not supported if it differs from the best other by less than the margin. That best other is chosen by its result,
    so the effect looks worse for 5e-5 than it is.
    """
    if "l2" not in evidence.folds:
        return _STUDY
    scores = evidence.folds["l2"]
    studys = SEARCHED["l2"][STUDYS_L2].label
    others = [of_value.label for of_value in SEARCHED["l2"].values() if of_value.label != studys]
    by_fold = {other: by_fold_of(scores, studys, other, metric) for other in others}
    widened = {}
    for other in others:
        of = fold_contrast(by_fold[other])
        low, high = of.interval(1 - (1 - LEVEL) / len(others))
        widened[other] = replace(of, ci_low=low, ci_high=high, p_value=min(1.0, of.p_value * len(others)))
    best = min(others, key=lambda other: widened[other].effect)
    of = widened[best]
    verdict = directional_verdict(of.ci_low, of.ci_high, None)
    if verdict == "supported" and not all(of_other.ci_low > 0 for of_other in widened.values()):
        verdict = "undecided"
    if any(of_other.ci_high < 0 for of_other in widened.values()):
        verdict = "contradicted"
    also = [_brief(f"5e-5 minus {other}", widened[other]) for other in others]
    return _in_folds(of, by_fold[best], dataset) | {"verdict": verdict, "also": also}
