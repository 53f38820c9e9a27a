"""What a report finds, in two or three sentences chosen by rules from the numbers of results.json.

They describe the runs and test images of that report, and say nothing of other patients: that is what claims are for.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from scipy.stats import entropy

from lib.claims.evidence import SCORES
from lib.claims.intervals import FEWEST_SEEDS, MARGIN
from lib.claims.words import number
from lib.evaluation import THRESHOLD
from lib.runs.plan import comparator
from lib.runs.run import History

QUESTION = "Do noise, dropout and L2 help a small segmentation network?"
ANSWERS = {"all gland": "everything is foreground", "no gland": "nothing is foreground"}
HELPS = {  # the verdict of a claim on test scores that says that its variant helps
    "C3a": ("noise", "supported"),
    "C4d": ("dropout", "supported"),
    "C5d": ("L2", "contradicted"),
}


def _test_scores(variant: Mapping[str, Any], metric: str, split: str = "test") -> list[float]:
    return [run[split][metric] for run in variant["runs"]]


def best_constant(results: Mapping[str, Any], metric: str) -> float:
    """Returns what the better of the two constant answers scores on the test images, in [0, 1]."""
    return float(max(answer[metric] for answer in results["dataset"]["trivial"].values()))


def place(scores: Sequence[float], constant: float) -> str:
    """Returns "above", "below" or "no better than": where the scores of runs lie, beside that of a constant answer.

    "above" and "below" ask it of every run, by more than MARGIN. All else is "no better than" where the mean is not
    above the constant by MARGIN, and "not reliably above" where only some runs are.
    """
    differences = [score - constant for score in scores]
    if min(differences) > MARGIN:
        return "above"
    if max(differences) < -MARGIN:
        return "below"
    return "not reliably above" if fmean(differences) > MARGIN else "no better than"


def above_constant(results: Mapping[str, Any], metric: str) -> str:
    """Returns where the baseline's runs lie beside the best constant answer, as `place` says it."""
    return place(_test_scores(results["variants"]["baseline"], metric), best_constant(results, metric))


def learning_result(
    label: str, histories: Sequence[History], baseline: Sequence[History], constant: Mapping[str, float]
) -> str:
    """Returns what a plot of learning curves shows: how they end, beside the baseline's or a constant answer's score.

    Args:
        label: of the variant. histories: its runs.
        baseline: runs with the same seeds; empty if the variant is the baseline.
        constant: what the best constant answer scores on the test images, by metric; may be empty.
    """
    ends = {metric: [history.test[metric][-1] for history in histories] for metric in SCORES}
    if not baseline:
        gap = fmean([history.train["dsc"][-1] for history in histories]) - fmean(ends["dsc"])
        apart = f"training minus test DSC is {number(gap)} in the end"
        if not constant:
            return f"{label}: {apart}."
        beside = [
            f"{place(ends[metric], constant[metric])} the best constant answer in test {name} "
            f"({fmean(ends[metric]):.2f} against {constant[metric]:.2f})"
            for metric, name in SCORES.items()
        ]
        return f"{label}: {' and '.join(beside)}; {apart}."
    behind = {metric: [history.test[metric][-1] for history in baseline] for metric in SCORES}
    effects = {metric: fmean(ends[metric]) - fmean(behind[metric]) for metric in SCORES}
    if all(abs(effect) < MARGIN for effect in effects.values()):
        listed = " and ".join(f"{number(effect)} in {SCORES[metric]}" for metric, effect in effects.items())
        return f"{label} changes the mean test score by less than {MARGIN}: {listed}."
    several = len(baseline) > 1
    listed = " and ".join(
        f"{_beside(effect)} the baseline in test {SCORES[metric]}"
        + several * f" (whose seeds differ by {max(behind[metric]) - min(behind[metric]):.3f})"
        for metric, effect in effects.items()
    )
    return f"{label} ends {listed}."


def _beside(effect: float) -> str:
    shown = f"{abs(effect):.3f}"
    return f"{shown} {'above' if effect > 0 else 'below'}" if float(shown) else "level with"


def findings(results: Mapping[str, Any]) -> list[str]:
    """Returns the sentences that open a report: first the answer to the question in its title.

    Then the baseline beside a constant answer, its gap, and its variants. Where no network has learned anything, that
    is said in place of the last two.
    """
    if nothing := _nothing_learned(results):
        return ["These runs cannot tell.", nothing, _beside_constant(results)]
    return [_answer(results), _beside_constant(results), _gap(results), _variants(results)]


def _answer(results: Mapping[str, Any]) -> str:
    """Returns what helps on these images, by verdicts over seeds.

    Where runs are too few for a verdict, it says whether any variant moves the mean test DSC by more than seeds do.
    """
    scores = _test_scores(results["variants"]["baseline"], "dsc")
    if len(scores) < FEWEST_SEEDS:
        if len(scores) == 1:
            return "One run of each network cannot tell."
        within = all(abs(effect) <= max(scores) - min(scores) for effect in _effects(results).values())
        return "On these runs, not measurably." if within else "So few runs cannot tell."
    dsc, dice = (_shown_to_help(results, metric) for metric in SCORES)
    return (
        f"On these images, {dsc}."
        if dsc == dice
        else f"On these images, {dsc} by DSC, and {dice} by Dice at a threshold of {THRESHOLD}."
    )


def _shown_to_help(results: Mapping[str, Any], metric: str) -> str:
    *first, last = [
        name
        for claim in results["claims"]
        for name, verdict in [HELPS.get(claim["id"], ("", ""))]
        if claim["metric"] == metric and claim["verdict_seeds"] == verdict
    ] or ["none of the variants"]
    return f"{', '.join(first)} and {last} are shown to help" if first else f"{last} is shown to help"


def _nothing_learned(results: Mapping[str, Any]) -> str:
    """Returns what to say where no run fits its training images better than the best constant probability; else ""."""
    share = results["dataset"]["foreground_fraction"]["train"]
    constant = float(entropy([share, 1 - share]))  # its cross-entropy in nats per pixel
    lowest = min(run["train"]["loss"] for variant in results["variants"].values() for run in variant["runs"])
    if lowest < constant:
        return ""
    return (
        f"No network learned anything: the training loss of every run (lowest {lowest:.2f}) is no lower than that of "
        f"one probability for all pixels ({constant:.2f}). Training diverged or was too short, so comparisons between "
        "these networks mean nothing; choose a smaller LEARNING_RATE or more EPOCHS."
    )


def _beside_constant(results: Mapping[str, Any]) -> str:
    places = {metric: above_constant(results, metric) for metric in SCORES}
    scores = {
        metric: f"{fmean(_test_scores(results['variants']['baseline'], metric)):.2f} against "
        f"{best_constant(results, metric):.2f}"
        for metric in SCORES
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
    gap = fmean(train) - fmean(test)
    shown = f"training minus test DSC is {number(gap)}"
    if len(test) > 1:
        size = "more" if abs(gap) > max(test) - min(test) else "no more"
        shown += f", {size} than test scores differ from seed to seed ({max(test) - min(test):.3f})"
    if gap > MARGIN:
        return f"The baseline scores higher on images that it was trained on: {shown}."
    return f"The baseline does not score {MARGIN} higher on images that it was trained on: {shown}."


def _means(results: Mapping[str, Any]) -> dict[str, float]:
    """Returns the mean test DSC of each variant over its runs."""
    return {name: fmean(_test_scores(variant, "dsc")) for name, variant in results["variants"].items()}


def _effects(results: Mapping[str, Any]) -> dict[str, float]:
    """Returns by label how a variant's mean test DSC differs from that of the baseline trained as long."""
    variants, means = results["variants"], _means(results)
    return {
        variant["label"]: means[name] - means[comparator(name, variants)]
        for name, variant in variants.items()
        if name not in ("baseline", "longer")
    }


def _variants(results: Mapping[str, Any]) -> str:
    scores, effects = _test_scores(results["variants"]["baseline"], "dsc"), _effects(results)
    listed = ", ".join(f"{label} {number(effect)}" for label, effect in effects.items())
    if len(scores) == 1:
        return f"Changes in test DSC ({listed}) are those of one run each: the seed alone may cause as much."
    spread, longer, means = max(scores) - min(scores), "", _means(results)
    if "longer" in means:
        gain = means["longer"] - means["baseline"]
        longer = f" Training the baseline as long as dropout changes it by {number(gain)}."
    larger = [label for label, effect in effects.items() if abs(effect) > spread]
    if not larger:
        return f"No variant changes the mean test DSC by as much as seeds do ({listed}; seeds {spread:.3f}).{longer}"
    named = " and ".join(larger)
    return f"{named} changed the mean test DSC by more than seeds do ({listed}; seeds {spread:.3f}).{longer}"


def headline_numbers(results: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns three comparisons, each with its meaning: DSC and Dice beside a constant answer, variants beside seeds.

    The third is left out where there is no variant.
    """
    baseline, constant = results["variants"]["baseline"], results["dataset"]["trivial"]
    shown = []
    for metric, meaning in (("dsc", "pixel accuracy (the study's “DSC”)"), ("dice", "Dice coefficient")):
        answer = max(constant, key=lambda name: constant[name][metric])
        shown.append(
            (
                f"{fmean(_test_scores(baseline, metric)):.2f} vs {constant[answer][metric]:.2f}",
                f"{meaning} of the network and of the answer “{ANSWERS[answer]}”",
            )
        )
    if effects := _effects(results):
        scores = _test_scores(baseline, "dsc")
        largest = max(effects, key=lambda name: abs(effects[name]))
        value, meaning = number(effects[largest]), f"largest change of test DSC by a variant ({largest})"
        if len(scores) > 1:
            value += f" vs {max(scores) - min(scores):.3f}"
            meaning += f", and the range over {len(scores)} seeds"
        shown.append((value, meaning))
    return shown
