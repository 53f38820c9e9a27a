"""Paired differences between variants, the intervals they earn, and the verdict on a claim.

Nothing here knows of networks. Every headline number is a contrast: a weighted sum over images of seed-averaged
differences. Seeds and patients are crossed, images are nested in patients, and `crossed_errors` says how the standard
error follows. `tests/tools/calibrate.py` measures how often the intervals cover: docs/calibration.md.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy import sparse, stats

LEVEL = 0.95  # of every interval before it is adjusted
ALPHA = 0.05  # of every test, before it is adjusted
# Of a score: a smaller difference is no reason to choose a variant, since two runs of one network differ by as much. It
# was fixed before the first run; `Estimate.smallest_margin` says what another would make of an effect.
MARGIN = 0.01
FEWEST_SEEDS = 6  # with fewer, training noise is not known well enough for any verdict
MANY = 1000  # clusters, from which on a small-sample correction changes nothing and its matrices would be large
WORKING_ICC = 0.1  # assumed in the small-sample correction: at 0 intervals cover too seldom, at 1 too often
LOOKS = (8, 12, 16)  # divisions after which a study that adds them while they can decide looks at what it has
LOOKS_FACTOR = 1.08  # of O'Brien and Fleming's bounds: false verdicts at any look then stay at 5%, as simulated
POWER = 0.8  # with which a planned study would decide
MOST_RUNS = 100  # that a plan asks for: as many divisions as REPEATS may be
MOST_PATIENTS = 20  # times those at hand, that a plan asks for


@dataclass(frozen=True)
class CrossedErrors:
    """What `crossed_errors` finds, one value per study; nan where one seed, or a lone patient, tells no variance."""

    effect: Float[np.ndarray, "study"]
    se: Float[np.ndarray, "study"]
    df: Float[np.ndarray, "study"]
    seed_se: Float[np.ndarray, "study"]
    v_interaction: Float[np.ndarray, "study"]
    effective_clusters: float


def crossed_errors(
    differences: Float[np.ndarray, "study seed image"],
    weights: Float[np.ndarray, "image"],
    clusters: Int[np.ndarray, "image"],
) -> CrossedErrors:
    """Returns weighted sums of differences, with standard errors over seeds and clusters of images at once.

    u(s, c) is the sum of weight times residual over the images of cluster c in seed s of S, and k(c) its variance over
    that of the same sum of errors:
        V_clusters    = sum over c of u(mean, c)^2 / k(c)                               on d degrees of freedom
        V_seeds       = variance over seeds of the weighted sums / S                    on S - 1
        V_interaction = sum over s, c of (u(s, c) - u(mean, c))^2 / k(c) / (S (S - 1))  is in both of these, so
        V             = V_clusters + V_net, where V_net = max(V_seeds - V_interaction, 0)
        df            = V^2 / (V_clusters^2 / d + V_seeds V_net / (S - 1))
    k and d follow from a working model in which images of one cluster correlate by WORKING_ICC: k makes V_clusters
    unbiased, d matches its mean and variance to a chi-squared variable's; d + 1 is the number of clusters where all are
    of one size. df is Satterthwaite's with V_seeds V_net in place of V_seeds^2: seeds have no part in V if V_net is 0.
    This and WORKING_ICC were chosen in simulation; from 6 seeds on the former hardly matters. Without k, and with one
    df for all of V from the sizes alone, (sum n)^2 / (sum of n^2) - 1, intervals cover too seldom or too often.

    Args:
        differences: variant minus baseline, of each image in each pair of runs.
        weights: of the images, none of them 0. Images of positive weight share one mean, of negative weight another.
        clusters: which patient each image shows; a patient's images may have weights of both signs.

    Reference: Cameron, Gelbach and Miller 2011, 10.1198/jbes.2010.07136 (V); Bell and McCaffrey 2002 and, for the
    working model, Imbens and Kolesar 2016, 10.1162/REST_a_00552 (k, d); Satterthwaite 1946 (df).
    """
    n_seeds = differences.shape[1]
    positive = weights > 0
    groups = [group for group in (positive, ~positive) if group.any()]
    by_seed = differences @ weights
    effect = by_seed.mean(axis=1)
    unknown = np.full_like(effect, np.nan)
    v_seeds = by_seed.var(axis=1, ddof=1) / n_seeds if n_seeds > 1 else unknown
    if n_seeds == 1 or any(np.ptp(clusters[group]) == 0 for group in groups):
        return CrossedErrors(effect, unknown, unknown, np.sqrt(v_seeds), unknown, float("nan"))
    numbers = np.unique(clusters, return_inverse=True)[1]
    image = np.arange(len(weights))
    share = sparse.csr_array((weights, (numbers, image)))  # cluster, image: few of each cluster's are not 0
    k, d = _small_sample(share, groups)
    residuals = differences.copy()
    for group in groups:
        magnitude = np.abs(weights[group])
        residuals[..., group] -= (differences[..., group] @ magnitude / magnitude.sum())[..., None]
    u = (share @ residuals.reshape(-1, len(weights)).T).T.reshape(*residuals.shape[:2], -1)
    v_clusters = (u.mean(axis=1) ** 2 / k).sum(axis=1)
    v_interaction = (u.var(axis=1, ddof=1) / k).sum(axis=1) / n_seeds
    v_net = np.maximum(v_seeds - v_interaction, 0)
    v = v_clusters + v_net
    spread = v_clusters**2 / d + v_seeds * v_net / (n_seeds - 1)
    df = np.divide(v**2, spread, out=np.full_like(v, d), where=spread > 0)
    return CrossedErrors(effect, np.sqrt(v), df, np.sqrt(v_seeds), v_interaction, float(d + 1))


def _small_sample(
    share: sparse.csr_array, groups: Sequence[Bool[np.ndarray, "image"]]
) -> tuple[Float[np.ndarray, "cluster"], float]:
    """Returns k and d of `crossed_errors` from the weights, cluster by image; with MANY clusters k is 1."""
    target = WORKING_ICC * share.sum(axis=1) ** 2 + (1 - WORKING_ICC) * share.power(2).sum(axis=1)
    if len(target) > MANY:
        return np.ones(len(target)), float(target.sum() ** 2 / (target**2).sum())
    weights = share.toarray()
    magnitude = np.abs(weights.sum(axis=0))
    means = sum(np.outer(weights[:, g].sum(axis=1), g * magnitude / magnitude[g].sum()) for g in groups)
    residual = weights - means
    by_cluster = residual @ (weights != 0).T
    covariance = WORKING_ICC * by_cluster @ by_cluster.T + (1 - WORKING_ICC) * residual @ residual.T
    k = covariance.diagonal() / target
    return k, float(target.sum() ** 2 / (covariance**2 / np.outer(k, k)).sum())


@dataclass(frozen=True)
class Interval:
    """An effect with its 95% interval and the p value of the two-sided test of 0; nan where they are unknown."""

    effect: float
    ci_low: float
    ci_high: float
    p_value: float


@dataclass(frozen=True)
class Estimate(Interval):
    """An effect whose error has a t distribution, its interval and test adjusted where `holm` did so.

    Attributes:
        se: in units of the effect. df: degrees of freedom. Both are nan, as are interval and test, where one run or one
            patient leaves a variance unknown.
    """

    se: float
    df: float

    @classmethod
    def unadjusted(cls, effect: float, se: float, df: float) -> "Estimate":
        """Returns the estimate with its own interval and test."""
        return cls(effect, *_interval(effect, se, df, LEVEL), 2 * _p_above(abs(effect), se, df), se, df)

    def interval(self, level: float) -> tuple[float, float]:
        """Returns the bounds of the two-sided, unadjusted interval of a level in (0, 1)."""
        return _interval(self.effect, self.se, self.df, level)

    def p_above(self, bound: float) -> float:
        """Returns p of the one-sided test that the effect exceeds a bound: -margin tests non-inferiority."""
        return _p_above(self.effect - bound, self.se, self.df)

    def p_equivalent(self, margin: float = MARGIN) -> float:
        """Returns p of two one-sided tests that the effect lies within the margin (Schuirmann 1987)."""
        return max(_p_above(self.effect + margin, self.se, self.df), _p_above(margin - self.effect, self.se, self.df))

    @property
    def smallest_margin(self) -> float:
        """The margin above which the effect is shown to be too small to matter: `p_equivalent` is ALPHA there."""
        return max(abs(bound) for bound in self.interval(1 - 2 * ALPHA))


@dataclass(frozen=True)
class Variance:
    """What the squared standard error of an effect is made of, by what would make it smaller.

    Attributes:
        of_patients: falls with the number of patients alone. of_runs: with that of runs alone. of_both: with either.
        n_runs, n_patients: those at hand; images where patients are unknown.
        clusters: the effective number of patients.
    """

    of_patients: float
    of_runs: float
    of_both: float
    n_runs: int
    n_patients: int
    clusters: float

    @classmethod
    def of_seeds(cls, se: float, n_runs: int) -> "Variance":
        """Returns the variance over runs alone: these images are fixed, as if there were all that exist."""
        return cls(0, se**2, 0, n_runs, n_patients=1, clusters=float("inf"))

    def error(self, n_runs: int, n_patients: int) -> tuple[float, float]:
        """Returns the standard error and its degrees of freedom, as `crossed_errors` has them, of a study of a size."""
        runs, patients = n_runs / self.n_runs, n_patients / self.n_patients
        of_both, of_runs = self.of_both / runs / patients, self.of_runs / runs
        of_clusters = self.of_patients / patients + of_both
        spread = of_clusters**2 / (self.clusters * patients - 1) + (of_runs + of_both) * of_runs / (n_runs - 1)
        total = of_clusters + of_runs
        return float(np.sqrt(total)), total**2 / spread


@dataclass(frozen=True)
class Needed:
    """The size of a study that would decide what is open, with POWER.

    Attributes:
        no_effect: whether it is for a true effect of 0, which it would find to be within the margin; otherwise for one
            as large as estimated.
        n_runs: with the patients at hand; None where MOST_RUNS would not do.
        n_patients: like those at hand, with as many runs, where more runs would not do; None where they would, and
            where MOST_PATIENTS times as many would not do either.
    """

    no_effect: bool
    n_runs: int | None
    n_patients: int | None


def to_decide(
    estimate: Estimate, variance: Variance, bound: float = 0, claimed: int = 1, margin: float = MARGIN
) -> Needed | None:
    """Returns the size of a study that would decide what the estimate leaves open, by the rules that left it open.

    A bound other than 0, or an estimate beyond the margin: a study that shows on which side of the bound the effect
    lies, if it is as large as estimated. Otherwise one that shows it to be within the margin, if it is 0; or, where the
    study at hand had the power for that already, the former. Its size is that of a new study, with patients and runs of
    its own, and rests on variances that are themselves estimates.

    Args:
        estimate: open; its interval may be adjusted, and the new study's is at the same level.
        variance: of the estimate, whose error may be wider where `look_factor` made it so.
        bound, claimed: of the claim, where it is one of non-inferiority.
        margin: below which an effect does not matter; 0 where effects are not compared with one.

    Returns:
        None where the variance is unknown or 0.
    """
    distance = claimed * (estimate.effect - bound)
    if not np.isfinite(estimate.df) or not estimate.se > 0:
        return None
    half_width = (estimate.ci_high - estimate.ci_low) / 2
    alpha = float(stats.t.sf(half_width / estimate.se, estimate.df))  # on each side of the interval
    if bound and distance > 0:
        alpha = ALPHA  # of a one-sided test

    def shows_effect(se: float, df: float) -> float:
        return float(stats.nct.sf(stats.t.isf(alpha, df), df, abs(distance) / se))

    def shows_none(se: float, df: float) -> float:  # both one-sided tests reject
        return 2 * float(stats.nct.sf(stats.t.isf(ALPHA, df), df, margin / se)) - 1

    if bound or abs(estimate.effect) >= margin or shows_none(estimate.se, estimate.df) >= POWER:
        return _smallest(shows_effect, variance, no_effect=False)
    return _smallest(shows_none, variance, no_effect=True)


def _smallest(power: Callable[[float, float], float], variance: Variance, no_effect: bool) -> Needed:
    """Returns the smallest study in which a test has POWER, given its power by standard error and df."""
    runs, patients = variance.n_runs, variance.n_patients
    more_runs = [(n, patients) for n in range(runs + 1, MOST_RUNS + 1)]
    found = bisect_left(more_runs, POWER, key=lambda size: power(*variance.error(*size)))
    if found < len(more_runs):
        return Needed(no_effect, more_runs[found][0], None)
    more_patients = [(runs, n) for n in range(patients + 1, MOST_PATIENTS * patients + 1)]
    found = bisect_left(more_patients, POWER, key=lambda size: power(*variance.error(*size)))
    return Needed(no_effect, None, more_patients[found][1] if found < len(more_patients) else None)


@dataclass(frozen=True)
class Contrast:
    """How a variant differs from another: one effect, and what it is known to be for other seeds and other patients.

    Attributes:
        over_patients: over runs and patients at once.
        over_seeds: over runs alone, these images fixed ("reproducible on this test set").
        n_runs: pairs of runs with one seed each, or divisions into folds.
        n_patients: None where patients are unknown; each image then is a cluster, and the interval too narrow.
        variance: of `over_patients`.
    """

    over_patients: Estimate
    over_seeds: Estimate
    n_runs: int
    n_images: int
    n_patients: int | None
    variance: Variance


def _interval(estimate: float, se: float, df: float, level: float) -> tuple[float, float]:
    half_width = float(stats.t.ppf((1 + level) / 2, df)) * se
    return estimate - half_width, estimate + half_width


def _p_above(distance: float, se: float, df: float) -> float:
    if se == 0:
        return 0.5 * (1 - float(np.sign(distance)))
    return float(stats.t.sf(distance / se, df))


def look_factor(divisions: int) -> float:
    """Returns what a standard error is multiplied by where a study may stop after any of LOOKS, and did after this one.

    An early look is widened most: it decides what would stay decided if all later divisions showed nothing.

    Reference: O'Brien and Fleming 1979, 10.2307/2530245.
    """
    return LOOKS_FACTOR * float(np.sqrt(LOOKS[-1] / divisions))


def image_differences(by_image: pd.DataFrame, variant: str, metric: str, baseline: str = "baseline") -> pd.DataFrame:
    """Returns the differences of `lib.runs.scores.image_scores`, variant minus baseline: seeds x (split, image).

    Raises:
        ValueError: the two do not have the same seeds and images.
    """
    ours, theirs = (by_image[metric].xs(name, level="variant") for name in (variant, baseline))
    differences = (ours - theirs).unstack(["split", "image"])
    if differences.isna().to_numpy().any():
        raise ValueError(f"{variant}: expected the seeds and images of {baseline}, found others")
    return differences


def image_weights(columns: pd.MultiIndex, quantity: str) -> Float[np.ndarray, "image"]:
    """Returns the weights that make a contrast the mean score of a split, or "gap", train minus test."""
    split = columns.get_level_values("split")
    signs = {"train": 1, "test": -1} if quantity == "gap" else {quantity: 1}
    if missing := set(signs) - set(split):
        raise ValueError(f"quantity: expected a split of {sorted(set(split))} or gap, found {min(missing)!r}")
    return np.sum([sign * (split == name) / np.sum(split == name) for name, sign in signs.items()], axis=0)


def contrast(
    differences: pd.DataFrame, quantity: str, patients: Mapping[tuple[str, str], str] | None = None
) -> Contrast:
    """Returns a contrast with its intervals.

    Args:
        differences: as `image_differences` gives them.
        quantity: a split, such as "test", or "gap".
        patients: of each (split, image); one name in both splits is one patient. None: not known.

    Raises:
        ValueError: a split is missing. KeyError: an image without a patient.
    """
    weights = image_weights(differences.columns, quantity)
    used = weights != 0
    images = differences.columns[used]
    identities = range(len(images)) if patients is None else [patients[image] for image in images]
    clusters = np.unique(identities, return_inverse=True)[1]
    found = crossed_errors(differences.to_numpy(np.float64)[None][:, :, used], weights[used], clusters)
    effect, se, df, seed_se = (float(value[0]) for value in (found.effect, found.se, found.df, found.seed_se))
    n_runs, n_clusters = len(differences), len(np.unique(clusters))
    return Contrast(
        Estimate.unadjusted(effect, se, df),
        Estimate.unadjusted(effect, seed_se, n_runs - 1),
        n_runs=n_runs,
        n_images=len(images),
        n_patients=None if patients is None else n_clusters,
        variance=mean_variance(found, n_runs, n_clusters),
    )


def over_patients_alone(
    differences: pd.DataFrame, quantity: str, patients: Mapping[tuple[str, str], str] | None = None
) -> Estimate:
    """Returns a contrast of networks that were trained once, with its interval for other patients and these networks.

    How another training would change them is no part of it. Arguments as of `contrast`, of one run.
    """
    twice = pd.concat([differences, differences])  # two equal runs: `crossed_errors` then finds no variance of runs
    return contrast(twice, quantity, patients).over_patients


def mean_variance(found: CrossedErrors, n_runs: int, n_patients: int) -> Variance:
    """Returns the mean variance of studies: V of `crossed_errors`, whose V_clusters holds V_interaction."""
    of_runs = np.maximum(found.seed_se**2 - found.v_interaction, 0)
    of_clusters = found.se**2 - of_runs
    of_both = np.minimum(found.v_interaction, of_clusters)
    return Variance(
        of_patients=float(np.mean(of_clusters - of_both)),
        of_runs=float(np.mean(of_runs)),
        of_both=float(np.mean(of_both)),
        n_runs=n_runs,
        n_patients=n_patients,
        clusters=found.effective_clusters,
    )


def effect_by_seed(differences: pd.DataFrame, quantity: str) -> list[float]:
    """Returns the contrast of each pair of runs: `contrast` has their mean as its effect. Arguments as there."""
    return [float(effect) for effect in differences.to_numpy(np.float64) @ image_weights(differences.columns, quantity)]


def holm(family: Mapping[Any, Estimate]) -> dict[Any, Estimate]:
    """Returns the estimates of a family with p values and intervals adjusted for their number, in their order.

    Of m estimates in the order of p, the r-th is tested at 5% / (m - r + 1); after the first that fails, all others at
    its level. The interval of one minus that level excludes 0 exactly if the adjusted p is below 5%. So at most 5% of
    families hold a "supported" or "contradicted" where the effect is 0. The intervals are not simultaneous, since data
    choose their levels (Bonferroni's would be, and are wider). An unknown p counts as 1.

    Reference: Holm 1979, jstor.org/stable/4615733.
    """
    alpha = 1 - LEVEL
    p_values = {name: float(np.nan_to_num(estimate.p_value, nan=1.0)) for name, estimate in family.items()}
    adjusted: dict[Any, Estimate] = {}
    p_value, tests = 0.0, len(family)
    for rank, name in enumerate(sorted(family, key=p_values.__getitem__)):
        p_value = max(p_value, min(1.0, (len(family) - rank) * p_values[name]))
        low, high = family[name].interval(1 - alpha / tests)
        known = float("nan") if np.isnan(low) else p_value
        adjusted[name] = replace(family[name], p_value=known, ci_low=low, ci_high=high)
        tests -= p_value < alpha
    return {name: adjusted[name] for name in family}


def spearman(
    x: Float[np.ndarray, "image"], y: Float[np.ndarray, "image"], patients: Sequence[str] | None = None
) -> Interval:
    """Returns Spearman's rho of two quantities over images, in [-1, 1], with its interval over patients.

    The interval is a t interval for artanh(rho) on (patients - 1) degrees of freedom with the jackknife's standard
    error: one patient left out at a time, or one image where patients are unknown. The formula for independent images
    (Bonett and Wright 2000) covers far too seldom where images of a patient resemble each other. The interval is nan
    where a quantity is constant or rho is 1 or -1, also without one of the patients. It is about these runs: how other
    seeds would change a seed-averaged quantity is what `spearman_over_seeds` says.

    Reference: Efron and Stein 1981, 10.1214/aos/1176345462.
    """
    cluster = np.arange(len(x)) if patients is None else np.unique(np.asarray(patients), return_inverse=True)[1]
    kept = [cluster != left_out for left_out in np.unique(cluster)]
    return _jackknife(rank_correlation(x, y), [rank_correlation(x[keep], y[keep]) for keep in kept])


def spearman_over_seeds(x: Float[np.ndarray, "image"], y: Float[np.ndarray, "seed image"]) -> Interval:
    """Returns Spearman's rho of x and the mean of y over seeds, with its interval over seeds, these images fixed.

    The jackknife of `spearman`, with one seed left out at a time.
    """
    without = [rank_correlation(x, np.delete(y, seed, axis=0).mean(axis=0)) for seed in range(len(y)) if len(y) > 1]
    return _jackknife(rank_correlation(x, y.mean(axis=0)), without)


def _jackknife(rho: float, without: Sequence[float]) -> Interval:
    """Returns a correlation with its t interval for artanh(rho), from those that leave one out."""
    count = len(without)
    low = high = p_value = float("nan")
    if count and np.all(np.abs([rho, *without]) < 1):
        z = float(np.arctanh(rho))
        se = float(np.sqrt((1 - 1 / count) * np.sum((np.arctanh(without) - z) ** 2)))
        low, high = np.tanh(_interval(z, se, count - 1, LEVEL)).tolist()
        p_value = 2 * _p_above(abs(z), se, count - 1)
    return Interval(rho, low, high, p_value)


def to_decide_correlation(rho: Interval, n_runs: int, n_patients: int) -> Needed | None:
    """Returns the number of patients that would decide the sign of `spearman`'s rho; runs have no part in it."""
    z, low, high = np.arctanh([rho.effect, rho.ci_low, rho.ci_high]).tolist()
    df = n_patients - 1
    se = (high - low) / 2 / float(stats.t.ppf((1 + LEVEL) / 2, df))
    variance = Variance(se**2, 0, 0, n_runs, n_patients, n_patients)
    return to_decide(Estimate.unadjusted(z, se, df), variance, margin=0)


def rank_correlation(x: Float[np.ndarray, "image"], y: Float[np.ndarray, "image"]) -> float:
    """Returns Spearman's rho, nan where a quantity is constant."""
    constant = len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0
    return float("nan") if constant else float(stats.spearmanr(x, y).statistic)
