"""The claims of the study, and what the runs at hand say of each."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import pandas as pd

from lib.claims.evidence import SCORES, Evidence
from lib.claims.intervals import (
    ALPHA,
    FEWEST_SEEDS,
    LEVEL,
    MARGIN,
    Estimate,
    Interval,
    Needed,
    Variance,
    contrast,
    effect_by_seed,
    holm,
    image_differences,
    look_factor,
    rank_correlation,
    spearman,
    spearman_over_seeds,
    to_decide,
    to_decide_correlation,
)
from lib.runs.plan import SEARCHED, comparator

Verdict = Literal["supported", "not supported", "contradicted", "undecided"]


def directional_verdict(estimate: Interval, n_runs: int, claimed: int = 1, margin: float = MARGIN) -> Verdict:
    """Returns the word for a claim that the effect is above 0 (claimed=1) or below 0 (claimed=-1).

        supported       the interval lies on the claimed side of 0
        contradicted    it lies on the other side
        not supported   neither, and the effect is smaller than the margin: `Estimate.p_equivalent` is below ALPHA
        undecided       all else, an interval that is unknown or has no width (networks that all answer alike), and
                        fewer than FEWEST_SEEDS runs

    The first two use the interval as it is adjusted; equivalence is a test of its own at its own level, so that it is
    not made harder by the number of other contrasts. A supported effect may be smaller than the margin, too. Runs are
    pairs with one seed each, or divisions into folds.
    """
    low, high = (estimate.ci_low, estimate.ci_high) if claimed > 0 else (-estimate.ci_high, -estimate.ci_low)
    if n_runs < FEWEST_SEEDS or not low < high:
        return "undecided"
    if low > 0:
        return "supported"
    if high < 0:
        return "contradicted"
    return "not supported" if isinstance(estimate, Estimate) and estimate.p_equivalent(margin) < ALPHA else "undecided"


def noninferiority_verdict(estimate: Estimate, n_runs: int, claimed: int = 1, margin: float = MARGIN) -> Verdict:
    """Returns the word for a claim that less than the margin is lost (claimed=1) or gained (claimed=-1).

    supported       p of the one-sided test (`p_noninferior`) is below ALPHA
    contradicted    the interval lies beyond the margin
    undecided       all else, an interval that is unknown or has no width, and fewer than FEWEST_SEEDS runs
    """
    if n_runs < FEWEST_SEEDS or not estimate.ci_low < estimate.ci_high:
        return "undecided"
    if p_noninferior(estimate, claimed, margin) < ALPHA:
        return "supported"
    best = estimate.ci_high if claimed > 0 else -estimate.ci_low
    return "contradicted" if best < -margin else "undecided"


def p_noninferior(estimate: Estimate, claimed: int = 1, margin: float = MARGIN) -> float:
    """Returns p of the one-sided test that the effect is above -margin (claimed=1) or below the margin (claimed=-1)."""
    return estimate.p_above(-margin) if claimed > 0 else 1 - estimate.p_above(margin)


@dataclass(frozen=True)
class Claim:
    """What the study says, in our words, and which number would show it.

    Attributes:
        id, section: of the claim and of the section that makes it.
        statement: a clause, to be read after "The study says that".
        measure: what is measured, in words.
        variant, quantity: compared with the baseline on "test", "train" or "gap"; empty where it is no such contrast.
        claimed: 1 if the effect is claimed above the bound, -1 below.
        bound: 0, or the margin on the other side of 0: nothing is lost, or nothing is gained.
    """

    id: str
    section: str
    statement: str
    measure: str
    variant: str = ""
    quantity: str = ""
    claimed: int = 1
    bound: float = 0.0

    @property
    def primary(self) -> bool:
        """Whether it is among the comparisons that were planned as primary."""
        return (self.variant, self.quantity) in PRIMARY and self.id != "C3d"  # which is no comparison


CLAIMS = (
    Claim("C1", "2.1 b", "the deeper network could not be trained, the shallower one could",
          "training score, shallower network minus our reconstruction of the deeper"),
    Claim("C2", "2.1 c", "borders are more clearly marked where the result is good",
          "rank correlation of border contrast and score over test images"),
    Claim("C3a", "2.2 a", "noise makes test performance slightly better",
          "test score, noise minus baseline", "noise", "test"),
    Claim("C3b", "2.2 a", "noise makes the gap smaller", "gap, noise minus baseline", "noise", "gap", -1),
    Claim("C3c", "2.2 a", f"noise does not degrade training performance (by {MARGIN} or more)",
          "training score, noise minus baseline", "noise", "train", bound=-MARGIN),
    Claim("C3d", "2.2 a", "with noise the network is definitely not overfitting",
          "gap of the network trained with noise", "noise", "gap", -1, bound=MARGIN),
    Claim("C4a", "2.2 b", "dropout makes the gap smaller",
          "gap, dropout minus baseline trained as long", "dropout", "gap", -1),
    Claim("C4b", "2.2 b", "one dropout layer at 0.5 works better than two at 0.2",
          "validation score, one layer minus two"),
    Claim("C4c", "2.2 b", "dropout is more demanding in training time",
          "training score after equal epochs, dropout minus baseline", claimed=-1),
    Claim("C4d", "2.2 b", "dropout makes test performance better",
          "test score, dropout minus baseline trained as long", "dropout", "test"),
    Claim("C4e", "2.2 b", f"dropout does not degrade training performance (by {MARGIN} or more)",
          "training score, dropout minus baseline trained as long", "dropout", "train", bound=-MARGIN),
    Claim("C5a", "2.2 c", "L2 makes the gap smaller", "gap, L2 minus baseline", "l2", "gap", -1),
    Claim("C5b", "2.2 c", "L2 closes the gap only by hurting training, not by improving test",
          "training score, L2 minus baseline", "l2", "train", -1),
    Claim("C5c", "2.2 c", "5e-5 is the best coefficient", "validation score, 5e-5 minus the best other"),
    Claim("C5d", "2.2 c", f"L2 does not improve test performance (by {MARGIN} or more)",
          "test score, L2 minus baseline", "l2", "test", -1, bound=MARGIN),
)  # fmt: skip
# What the study says, word for word, by claim; the notebooks of section 2 quote the same sentences in their place.
QUOTES = {
    "C1": "After trying to convert the previous network used in task 1 and failing to train it, presumably because of "
          "vanishing gradients, a more shallow network was found to work",
    "C2": "we can see that the borders of the tumors are more clearly marked on image 31 where they are glowing green "
          "than on image 9 where they are of the same color than the background.",
    "C3a": "We can see in plot 15 that we achieved slightly better performances on testing",
    "C3b": "we achieved slightly better performances on testing and shrunk the gap to training performances.",
    "C3c": "The surprising thing is that seem not have degraded our training performances while we perturbed the "
           "input.",
    "C3d": "Here the network is definitely not overfitting, as training and testing performances are really close (at "
           "least in terms of Dice Score)",
    "C4a": "similar to figure 15, the training and testing performances are much closer than in figure 12.",
    "C4b": "This single 0.5 dropout layer was adopted after trial and error, observing that two dropout layers with "
           "probability 0.2 was not working as well for example.",
    "C4c": "Although more demanding in training time, this technique limits the ability of the network to learn too "
           "specific representations",
    "C4d": "The conclusion is similar to that of section 2.2 a)",
    "C4e": "The conclusion is similar to that of section 2.2 a)",
    "C5a": "the results are similar to (a) and (b) in that we observe a smaller gap between training and testing "
           "performances.",
    "C5b": "However, the training score is lower than before, so we essentially closed the gap only by hurting the "
           "training performances and not by improving the ones on testing.",
    "C5c": "After a bit of trial and error, the best value found for the coefficient penalizing the square of the "
           "weights is 5 × 10⁻⁵.",
    "C5d": "we essentially closed the gap only by hurting the training performances and not by improving the ones on "
           "testing.",
}  # fmt: skip
# The intervals of these are adjusted for their number.
PRIMARY = (("noise", "test"), ("noise", "gap"), ("dropout", "gap"), ("l2", "gap"), ("dropout", "test"), ("l2", "test"))


@dataclass(frozen=True, kw_only=True)
class NotRun:
    """A claim that no run says anything about, and what it takes."""

    claim: Claim
    metric: str
    missing: str
    verdict: Literal["not run"] = "not run"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the runs say of a claim in one score.

    Attributes:
        metric: a key of SCORES. measure: what the effect is, in words.
        verdict, estimate: on other patients, over seeds and patients at once.
        verdict_seeds, over_seeds: on these images with other seeds; None where it was measured in folds alone.
        by_run: the effect in each pair of runs, in each run, or in each division; nan where it is unknown.
        n_divisions: into folds that the estimate is from; 0: it is from the test split, or the training split.
        n_patients: None where patients are unknown.
        also: other effects that belong to the claim, by what they are.
        needed, needed_seeds: to decide what `estimate` and `over_seeds` leave open; None where they do not, or where
            that cannot be told.
    """

    claim: Claim
    metric: str
    measure: str
    verdict: Verdict
    estimate: Interval
    verdict_seeds: Verdict | None
    over_seeds: Interval | None
    by_run: tuple[float, ...]
    n_images: int
    n_patients: int | None
    also: Mapping[str, Interval] = field(default_factory=dict)
    n_divisions: int = 0
    needed: Needed | None = None
    needed_seeds: Needed | None = None

    @property
    def n_runs(self) -> int:
        """Runs, or divisions, behind `estimate`."""
        return self.n_divisions or len(self.by_run)


@dataclass(frozen=True, kw_only=True)
class ContrastJudgement(Judgement):
    """A claim on the difference between two variants, or on the gap of one."""

    estimate: Estimate
    over_seeds: Estimate | None
    effective_clusters: float


@dataclass(frozen=True, kw_only=True)
class DepthJudgement(ContrastJudgement):
    """The claim on the deeper network.

    Attributes:
        untrained: runs of the deeper network that end no more than MARGIN above the best constant answer.
        untrained_shallower: such runs of the shallower network.
        first_gradients: those of `Evidence`.
    """

    untrained: int
    untrained_shallower: int
    first_gradients: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class CorrelationJudgement(Judgement):
    """A claim on the rank correlation of two quantities over images, one of them a mean over runs."""


@dataclass(frozen=True)
class Effect:
    """An effect on both questions.

    Attributes:
        over_seeds: on these images with other seeds; None where it was measured in folds alone.
        over_patients: on other patients: from divisions of all images into folds where there are any, for networks that
            see about four fifths of the images; else from the given splits, for the networks trained on these.
        n_seeds, n_divisions: pairs of runs, and divisions, behind them; 0 where there are none.
        n_images, n_patients, variance: those of the `Contrast` behind `over_patients`.
        by_run: the effect in each pair of runs, or in each division where it was measured in folds alone.
    """

    over_seeds: Estimate | None
    over_patients: Estimate
    n_seeds: int
    n_divisions: int
    n_images: int
    n_patients: int | None
    variance: Variance
    by_run: tuple[float, ...]

    @property
    def n_runs(self) -> int:
        """Runs behind `over_patients`."""
        return self.n_divisions or self.n_seeds


def _effect(evidence: Evidence, quantity: str, seen: pd.DataFrame | None, folds: pd.DataFrame | None) -> Effect:
    """Returns an effect from differences as `image_differences` has them: on the given splits, in folds, or in both."""
    on_split = None if seen is None else contrast(seen, quantity, evidence.patients)
    in_folds = None
    if folds is not None:
        of_image = evidence.fold_patients
        patients = None if of_image is None else {(split, image): of_image[image] for split, image in folds.columns}
        in_folds = contrast(folds, quantity, patients)
        if evidence.until_decided:
            over = in_folds.over_patients
            widened = Estimate.unadjusted(over.effect, over.se * look_factor(in_folds.n_runs), over.df)
            in_folds = replace(in_folds, over_patients=widened)
    measured = in_folds or on_split
    by_run = seen if seen is not None else folds
    if measured is None or by_run is None:
        raise ValueError(f"{quantity}: expected differences on a split or in folds, found none")
    return Effect(
        over_seeds=on_split.over_seeds if on_split else None,
        over_patients=measured.over_patients,
        n_seeds=on_split.n_runs if on_split else 0,
        n_divisions=in_folds.n_runs if in_folds else 0,
        n_images=measured.n_images,
        n_patients=measured.n_patients,
        variance=measured.variance,
        by_run=tuple(effect_by_seed(by_run, quantity)),
    )


def _in_folds(evidence: Evidence, metric: str, variant: str, other: str) -> pd.DataFrame | None:
    """Returns the differences between two variants in the folds, None where either was not trained in them."""
    folds = evidence.in_folds
    known = () if folds is None else folds.index.unique("variant")
    return image_differences(folds, variant, metric, other) if variant in known and other in known else None


@lru_cache(maxsize=len(SCORES))  # every table asks for it
def contrasts(evidence: Evidence, metric: str) -> dict[tuple[str, str], Effect]:
    """Returns every variant minus its comparator, the baseline after as many epochs, on test, train and gap.

    Those of PRIMARY are adjusted as one family in each score, for seeds and for patients: they are separate questions.
    """
    found = {}
    for variant in evidence.by_image.index.unique("variant").drop("baseline"):
        other = comparator(variant, evidence.by_image.index.unique("variant"))
        differences = image_differences(evidence.by_image, variant, metric, other)
        in_folds = _in_folds(evidence, metric, variant, other)
        for quantity in ("test", "train", "gap"):
            found[variant, quantity] = _effect(evidence, quantity, differences, in_folds)
    family = [key for key in PRIMARY if key in found]
    over_patients = holm({key: found[key].over_patients for key in family})
    over_seeds = holm({key: seeds for key in family if (seeds := found[key].over_seeds)})
    return found | {
        key: replace(found[key], over_patients=over_patients[key], over_seeds=over_seeds[key]) for key in family
    }


def judge(evidence: Evidence) -> list[Judgement | NotRun]:
    """Returns what the runs say of every claim, in the order of CLAIMS, once for each of SCORES."""
    special = {
        "C1": _judge_depth, "C2": _judge_borders, "C3d": _judge_overfitting, "C4b": _judge_layers,
        "C4c": _judge_epochs, "C5c": _judge_coefficient,
    }  # fmt: skip
    judged: list[Judgement | NotRun] = []
    for metric in SCORES:
        found = contrasts(evidence, metric)
        for claim in CLAIMS:
            if claim.id in special:
                judged.append(special[claim.id](claim, evidence, metric))
            elif (claim.variant, claim.quantity) in found:
                judged.append(_judge_contrast(claim, evidence, metric, found))
            else:
                judged.append(NotRun(claim=claim, metric=metric, missing=f"the variant {claim.variant}"))
    return judged


def may_be_decided(judged: Iterable[Judgement | NotRun]) -> list[str]:
    """Returns the claims whose verdict on other patients is open, and which more divisions alone could decide."""
    return [
        one.claim.id
        for one in judged
        if isinstance(one, Judgement) and one.n_divisions and one.verdict == "undecided"
        if one.needed and one.needed.n_runs
    ]


def claim_results(judged: Judgement | NotRun) -> dict[str, Any]:
    """Returns a judgement as in results.json, with None in place of numbers that are not known."""
    claim = judged.claim
    results: dict[str, Any] = {
        "id": claim.id, "section": claim.section, "statement": claim.statement, "measure": claim.measure,
        "metric": judged.metric, "primary": claim.primary, "verdict": judged.verdict, "verdict_seeds": judged.verdict,
        "missing": None, "also": [],
    }  # fmt: skip
    if isinstance(judged, NotRun):
        return results | {"missing": judged.missing}
    results |= asdict(judged.estimate) | {
        "measure": judged.measure, "n_images": judged.n_images, "n_patients": judged.n_patients,
        "verdict_seeds": judged.verdict_seeds, "seed_low": None, "seed_high": None, "seed_p_value": None,
        "seed_effect": None, "n_seeds": len(judged.by_run), "n_divisions": judged.n_divisions,
        "by_run": list(judged.by_run),
        "also": [{"measure": measure, **_shown(estimate)} for measure, estimate in judged.also.items()],
    }  # fmt: skip
    for name, needed in (("needed", judged.needed), ("needed_seeds", judged.needed_seeds)):
        results[name] = asdict(needed) if needed else None
    if judged.over_seeds is not None:
        over_seeds = judged.over_seeds
        results |= {
            "seed_effect": over_seeds.effect, "seed_low": over_seeds.ci_low, "seed_high": over_seeds.ci_high,
            "seed_p_value": over_seeds.p_value,
        }  # fmt: skip
    if isinstance(judged, ContrastJudgement):
        results |= {
            "effective_clusters": judged.effective_clusters,
            "seed_se": judged.over_seeds.se if judged.over_seeds else None,
        }
    if isinstance(judged, DepthJudgement):
        results |= {"untrained": judged.untrained, "untrained_shallower": judged.untrained_shallower}
        results |= {"first_gradients": dict(judged.first_gradients)}
    return _without_nan(results)


def _shown(estimate: Interval) -> dict[str, float]:
    return {"effect": estimate.effect, "ci_low": estimate.ci_low, "ci_high": estimate.ci_high}


def _without_nan(value: Any) -> Any:
    """Returns None in place of nan, also inside lists and dicts: JSON has no nan."""
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if value != value else value


def _judgement(
    claim: Claim, metric: str, measured: Effect, kind: type[ContrastJudgement] = ContrastJudgement, **other: Any
) -> ContrastJudgement:
    """Returns the judgement of an effect by the rule of its claim, but for what is given."""
    rule = noninferiority_verdict if claim.bound else directional_verdict
    over_patients, over_seeds = measured.over_patients, measured.over_seeds
    of_seeds = Variance.of_seeds(over_seeds.se, measured.n_seeds) if over_seeds else None

    def needed(estimate: Estimate, variance: Variance, n_runs: int) -> Needed | None:
        is_open = _is_open(rule(estimate, n_runs, claim.claimed), n_runs)
        return to_decide(estimate, variance, claim.bound, claim.claimed) if is_open else None

    found: dict[str, Any] = {
        "measure": claim.measure,
        "verdict": rule(over_patients, measured.n_runs, claim.claimed),
        "verdict_seeds": rule(over_seeds, measured.n_seeds, claim.claimed) if over_seeds else None,
        "estimate": over_patients, "over_seeds": over_seeds, "by_run": measured.by_run,
        "n_images": measured.n_images, "n_patients": measured.n_patients, "n_divisions": measured.n_divisions,
        "effective_clusters": measured.variance.clusters,
        "needed": needed(over_patients, measured.variance, measured.n_runs),
        "needed_seeds": needed(over_seeds, of_seeds, measured.n_seeds) if over_seeds and of_seeds else None,
    }  # fmt: skip
    found |= other
    for verdict, size in (("verdict", "needed"), ("verdict_seeds", "needed_seeds")):
        if found[verdict] != "undecided":  # by the claim's own rule, though its effect is open
            found[size] = None
    if claim.bound:  # decided by the test of non-inferiority
        for name in ("estimate", "over_seeds"):
            if one := found[name]:
                found[name] = replace(one, p_value=p_noninferior(one, claim.claimed))
    return kind(claim=claim, metric=metric, **found)


def _is_open(verdict: Verdict, n_runs: int) -> bool:
    """Returns whether a verdict is open for another reason than too few runs."""
    return verdict == "undecided" and n_runs >= FEWEST_SEEDS


def _judge_contrast(
    claim: Claim, evidence: Evidence, metric: str, found: Mapping[tuple[str, str], Effect]
) -> ContrastJudgement:
    measured = {quantity: found[claim.variant, quantity] for quantity in ("train", "test", "gap")}
    over_patients = {quantity: effect.over_patients for quantity, effect in measured.items()}
    over_seeds = {quantity: effect.over_seeds for quantity, effect in measured.items() if effect.over_seeds}
    chosen = measured[claim.quantity]
    other = comparator(claim.variant, evidence.by_image.index.unique("variant"))
    scores = evidence.by_image if evidence.in_folds is None or not chosen.n_divisions else evidence.in_folds
    also: dict[str, Interval] = {}
    if other != "baseline":
        as_the_study = _effect(
            evidence,
            claim.quantity,
            image_differences(evidence.by_image, claim.variant, metric),
            _in_folds(evidence, metric, claim.variant, "baseline"),
        )
        also["as the study compared them, the baseline trained for less"] = as_the_study.over_patients
        also["longer training alone, of the baseline"] = found[other, claim.quantity].over_patients
    if claim.id == "C4a" and (equal := _equal_epochs(evidence, metric, claim.quantity)):
        also[f"after {evidence.at_epoch} epochs each"] = equal.over_patients
    if claim.id == "C5b":
        for name, quantity in (("test score", "test"), ("gap", "gap")):
            also[f"{name}, adjusted for {len(PRIMARY)}"] = over_patients[quantity]
    fell_here, fell = (_gap_fell(table[metric], claim.variant, other) for table in (evidence.by_image, scores))
    return _judgement(
        claim,
        metric,
        chosen,
        verdict=_contrast_verdict(claim, over_patients, chosen.n_runs, fell),
        verdict_seeds=_contrast_verdict(claim, over_seeds, chosen.n_seeds, fell_here),
        also=also,
    )


def _equal_epochs(evidence: Evidence, metric: str, quantity: str) -> Effect | None:
    """Returns dropout minus the baseline after equally few epochs, None where they were not scored after the same."""
    if evidence.equal_epochs is None:
        return None
    seen = image_differences(evidence.equal_epochs, "dropout", metric)
    return _effect(evidence, quantity, seen, _in_folds(evidence, metric, "dropout 0.5", "baseline"))


def _contrast_verdict(claim: Claim, estimates: Mapping[str, Estimate], n_runs: int, gap_fell: bool) -> Verdict:
    """Returns the word for a claim on a variant minus the baseline, for one question.

    Args:
        estimates: of the "train" and "test" scores and of the "gap", all over seeds or all over patients.
        gap_fell: whether the mean size of the gap became smaller.
    """
    if claim.bound:
        return noninferiority_verdict(estimates[claim.quantity], n_runs, claim.claimed)
    gap_verdict = directional_verdict(estimates["gap"], n_runs, -1)
    # On both sides of 0: a gap may fall below 0 and further than it was above, or rise towards it from below.
    if gap_verdict == ("contradicted" if gap_fell else "supported"):
        gap_verdict = "undecided"
    if claim.quantity == "gap":
        return gap_verdict
    verdict = directional_verdict(estimates[claim.quantity], n_runs, claim.claimed)
    if claim.id != "C5b" or n_runs < FEWEST_SEEDS:
        return verdict
    if estimates["test"].ci_low > 0:
        return "contradicted"  # the test did improve
    if verdict == "supported" and gap_verdict != "supported":
        return gap_verdict  # training was hurt, and the gap did not close by it
    return "undecided" if verdict == "supported" and not estimates["test"].ci_high < MARGIN else verdict


def _gap_fell(scores: pd.Series, variant: str, other: str) -> bool:
    """Returns whether the mean gap between training and test score is nearer to 0 than another variant's."""
    means = scores.groupby(["variant", "split"]).mean().unstack("split")
    sizes = (means["train"] - means["test"]).abs()
    return bool(sizes[variant] < sizes[other])


def _judge_overfitting(claim: Claim, evidence: Evidence, metric: str) -> ContrastJudgement | NotRun:
    """Judges a variant by its own gap, not by a difference to another's: overfitting is a gap above the margin."""
    if claim.variant not in evidence.by_image.index.unique("variant"):
        return NotRun(claim=claim, metric=metric, missing=f"the variant {claim.variant}")
    tables = [evidence.by_image] if evidence.in_folds is None else [evidence.by_image, evidence.in_folds]
    scores = [table[metric].loc[claim.variant].unstack(["split", "image"]) for table in tables]
    measured = _effect(evidence, claim.quantity, scores[0], scores[1] if scores[1:] else None)
    return _judgement(claim, metric, measured)


def _judge_depth(claim: Claim, evidence: Evidence, metric: str) -> ContrastJudgement | NotRun:
    """Compares both networks also with the best constant answer, since "not trained" means no better than that.

    Supported only if the deeper network is not above that answer by the margin and the shallower one is; contradicted
    also if the deeper one is above it by the margin, since then it could be trained.
    """
    if "deeper" not in evidence.by_image.index.unique("variant"):
        return _full_run(claim, metric)
    scores = evidence.by_image.loc[["baseline", "deeper"], [metric]].xs("train", level="split", drop_level=False)
    constant = scores.loc[["deeper"]].rename(index={"deeper": "constant"}, level="variant")
    constant[metric] = constant.index.get_level_values("image").map(evidence.constant_answer[metric])
    scores = pd.concat([scores, constant])

    def verdict(measured: Estimate, shallower: Estimate, deeper: Estimate) -> Verdict:
        word = directional_verdict(measured, n_runs)
        if word == "supported" and not (deeper.ci_high < MARGIN < shallower.ci_low):
            word = "undecided"
        return "contradicted" if n_runs >= FEWEST_SEEDS and deeper.ci_low > MARGIN else word

    measured, shallower, deeper = compared = [
        _effect(evidence, "train", image_differences(scores, variant, metric, other), None)
        for variant, other in (("baseline", "deeper"), ("baseline", "constant"), ("deeper", "constant"))
    ]
    n_runs = measured.n_seeds
    return _judgement(
        claim,
        metric,
        measured,
        DepthJudgement,
        verdict=verdict(*(each.over_patients for each in compared)),
        verdict_seeds=verdict(*(each.over_seeds for each in compared if each.over_seeds)),
        also={
            "shallower network minus the best constant answer": shallower.over_patients,
            "reconstructed deeper network minus the best constant answer": deeper.over_patients,
        },
        untrained=sum(effect <= MARGIN for effect in deeper.by_run),
        untrained_shallower=sum(effect <= MARGIN for effect in shallower.by_run),
        first_gradients=evidence.first_gradients,
    )


def _full_run(claim: Claim, metric: str) -> NotRun:
    return NotRun(claim=claim, metric=metric, missing="`make study`")


def _judge_borders(claim: Claim, evidence: Evidence, metric: str) -> CorrelationJudgement:
    borders = evidence.border_contrast.dropna()
    by_run = evidence.by_image[metric].loc["baseline"].xs("test", level="split").unstack("seed").loc[borders.index]
    patients = None if evidence.patients is None else [evidence.patients["test", name] for name in borders.index]
    n_runs = by_run.shape[1]
    n_clusters = len(borders) if patients is None else len(set(patients))
    found = spearman(borders.to_numpy(), by_run.mean(axis=1).to_numpy(), patients)
    over_seeds = spearman_over_seeds(borders.to_numpy(), by_run.to_numpy().T)
    verdict = directional_verdict(found, n_runs)
    return CorrelationJudgement(
        claim=claim,
        metric=metric,
        measure=claim.measure,
        verdict=verdict,
        verdict_seeds=directional_verdict(over_seeds, n_runs),
        estimate=found,
        over_seeds=over_seeds,
        by_run=tuple(rank_correlation(borders.to_numpy(), scores.to_numpy()) for _, scores in by_run.items()),
        n_images=len(borders),
        n_patients=None if patients is None else n_clusters,
        needed=to_decide_correlation(found, n_runs, n_clusters) if _is_open(verdict, n_runs) else None,
    )


def _judge_layers(claim: Claim, evidence: Evidence, metric: str) -> ContrastJudgement | NotRun:
    differences = _in_folds(evidence, metric, "dropout", "two dropouts")
    if differences is None:
        return _full_run(claim, metric)
    return _judgement(claim, metric, _effect(evidence, "test", None, differences))


def _judge_epochs(claim: Claim, evidence: Evidence, metric: str) -> ContrastJudgement | NotRun:
    measured = _equal_epochs(evidence, metric, "train")
    if measured is None:
        return NotRun(claim=claim, metric=metric, missing="more epochs, so that both are scored after the same number")
    measure = f"training score after {evidence.at_epoch} epochs, dropout minus baseline"
    return _judgement(claim, metric, measured, measure=measure)


def _judge_coefficient(claim: Claim, evidence: Evidence, metric: str) -> ContrastJudgement | NotRun:
    """Supported if 5e-5 is above every other, contradicted if it is below one: intervals widened for their number.

    Not supported if it differs from the best other by less than the margin. That best other is chosen by its result,
    so the effect looks worse for 5e-5 than it is.
    """
    found = {}
    for other in SEARCHED["l2"].values():
        differences = None if other == "l2" else _in_folds(evidence, metric, "l2", other)
        if differences is not None:
            found[other] = _effect(evidence, "test", None, differences)
    if len(found) < len(SEARCHED["l2"]) - 1:
        return _full_run(claim, metric)
    for other, effect in found.items():
        estimate = effect.over_patients
        low, high = estimate.interval(1 - (1 - LEVEL) / len(found))
        p_value = min(1.0, estimate.p_value * len(found))
        found[other] = replace(effect, over_patients=replace(estimate, ci_low=low, ci_high=high, p_value=p_value))
    widened = {other: effect.over_patients for other, effect in found.items()}
    best = min(widened, key=lambda other: widened[other].effect)
    verdict = directional_verdict(widened[best], found[best].n_divisions)
    if verdict == "supported" and not all(estimate.ci_low > 0 for estimate in widened.values()):
        verdict = "undecided"
    if found[best].n_divisions >= FEWEST_SEEDS and any(estimate.ci_high < 0 for estimate in widened.values()):
        verdict = "contradicted"
    values = {other: f"{value:g}" for value, other in SEARCHED["l2"].items()}
    also = {f"5e-5 minus {values[other]}": estimate for other, estimate in widened.items()}
    return _judgement(claim, metric, found[best], verdict=verdict, also=also)
