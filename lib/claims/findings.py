"""What a report finds, in two or three sentences chosen by rules from the numbers of results.json.

They describe the runs and test images of that report, and say nothing of other patients: that is what claims are for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lib.claims.intervals import MARGIN
from lib.claims.words import number

NAMES = {"dsc": "DSC", "dice": "Dice"}


def _test_scores(variant: Mapping[str, Any], metric: str, split: str = "test") -> list[float]:
    return [run[split][metric] for run in variant["runs"]]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def best_constant(results: Mapping[str, Any], metric: str) -> float:
    """Returns what the better of the two constant answers scores on the test images, in [0, 1]."""
    return float(max(answer[metric] for answer in results["dataset"]["trivial"].values()))


def above_constant(results: Mapping[str, Any], metric: str) -> str:
    """Returns "above", "below" or "no better than": where the baseline's runs lie, beside the best constant answer.

    "above" and "below" ask it of every run, by more than MARGIN. All else is "no better than" where the mean is not
    above the constant by MARGIN, and "not reliably above" where only some runs are.
    """
    differences = [
        score - best_constant(results, metric) for score in _test_scores(results["variants"]["baseline"], metric)
    ]
    if min(differences) > MARGIN:
        return "above"
    if max(differences) < -MARGIN:
        return "below"
    return "not reliably above" if _mean(differences) > MARGIN else "no better than"


def findings(results: Mapping[str, Any]) -> list[str]:
    """Returns the sentences that open a report: the baseline beside a constant answer, its gap, and its variants."""
    return [_beside_constant(results), _gap(results), _variants(results)]


def _beside_constant(results: Mapping[str, Any]) -> str:
    places = {metric: above_constant(results, metric) for metric in NAMES}
    scores = {
        metric: f"{_mean(_test_scores(results['variants']['baseline'], metric)):.2f} against "
        f"{best_constant(results, metric):.2f}"
        for metric in NAMES
    }
    constant = "the best answer that is the same for every pixel"
    if places["dsc"] == places["dice"]:
        return (
            f"The network is {places['dsc']} {constant}, both in the study's DSC, the share of equal pixels "
            f"({scores['dsc']}), and in Dice, the overlap of the foregrounds ({scores['dice']})."
        )
    return (
        f"By the study's DSC, the share of equal pixels, the network is {places['dsc']} {constant} ({scores['dsc']}); "
        f"by Dice, the overlap of the foregrounds, it is {places['dice']} such an answer ({scores['dice']})."
    )


def _gap(results: Mapping[str, Any]) -> str:
    baseline = results["variants"]["baseline"]
    train, test = _test_scores(baseline, "dsc", "train"), _test_scores(baseline, "dsc")
    gap = _mean(train) - _mean(test)
    shown = f"training minus test DSC is {number(gap)}"
    if len(test) > 1:
        size = "more" if abs(gap) > max(test) - min(test) else "no more"
        shown += f", {size} than test scores differ from seed to seed ({max(test) - min(test):.3f})"
    if gap > MARGIN:
        return f"The baseline scores higher on images that it was trained on: {shown}."
    return f"There is no overfitting to cure: {shown}."


def _variants(results: Mapping[str, Any]) -> str:
    baseline = results["variants"]["baseline"]
    scores = _test_scores(baseline, "dsc")
    effects = {
        variant["label"]: _mean(_test_scores(variant, "dsc")) - _mean(scores)
        for name, variant in results["variants"].items()
        if name != "baseline"
    }
    listed = ", ".join(f"{label} {number(effect)}" for label, effect in effects.items())
    if len(scores) == 1:
        return f"Changes in test DSC ({listed}) are those of one run each: the seed alone may cause as much."
    spread = max(scores) - min(scores)
    larger = [label for label, effect in effects.items() if abs(effect) > spread]
    if not larger:
        return f"No variant changes the mean test DSC by as much as seeds do ({listed}; seeds {spread:.3f})."
    return f"More than seeds do ({spread:.3f}), {' and '.join(larger)} changed the mean test DSC ({listed})."
