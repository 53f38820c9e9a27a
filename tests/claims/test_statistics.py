import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import ttost_paired

from lib.claims.intervals import (
    Contrast,
    Estimate,
    Interval,
    Needed,
    Variance,
    contrast,
    crossed_errors,
    effect_by_seed,
    holm,
    image_differences,
    over_patients_alone,
    spearman,
    spearman_over_seeds,
    to_decide,
    to_decide_correlation,
)
from lib.claims.verdicts import directional_verdict, noninferiority_verdict

# Claims: intervals and verdicts. A study is an array (seed, image) of differences; patients are letters.


def by_letter(patients: str | None, n_train: int) -> tuple[pd.MultiIndex, dict[tuple[str, str], str] | None]:
    """Columns of a study whose first n_train images are training images, and whose tissue they show."""
    count = len(patients or "")
    images = pd.MultiIndex.from_tuples(
        [("train" if i < n_train else "test", f"image_{i:02d}") for i in range(count)], names=["split", "image"]
    )
    return images, dict(zip(images, patients or "", strict=True))


def study(values, patients: str, quantity: str = "test", n_train: int = 0, known: bool = True) -> Contrast:
    columns, identities = by_letter(patients, n_train)
    differences = pd.DataFrame(np.asarray(values, dtype=float), columns=columns)
    return contrast(differences, quantity, identities if known else None)


def simulated(seed: int, effect: float = 0.0, seeds: int = 20, images: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return effect + rng.normal(0, 0.01, (seeds, 1)) + rng.normal(0, 0.03, (seeds, images))


NINE = "a" + "b" * 14 + "c" * 12 + "d" * 8 + "e" * 8 + "f" * 12 + "g" + "h" * 2 + "i" * 2


def brute_force(values: np.ndarray, weights: list[float], patients: str) -> tuple[float, float, float]:
    """Effect, standard error and degrees of freedom by the formulas of `crossed_errors`, one loop for each sum."""
    n_seeds, n_images = values.shape
    everyone = sorted(set(patients))

    def residual(row, i: int) -> float:
        same_sign = [j for j in range(n_images) if weights[j] * weights[i] > 0]
        total = sum(abs(weights[j]) for j in same_sign)
        return row[i] - sum(abs(weights[j]) * row[j] for j in same_sign) / total

    def score(row, patient: str) -> float:
        return sum(weights[i] * residual(row, i) for i in range(n_images) if patients[i] == patient)

    def covariance(i: int, j: int) -> float:  # of the errors, under the working model
        return 1.0 if i == j else 0.1 if patients[i] == patients[j] else 0.0

    unit = np.eye(n_images)  # the score is linear: its coefficients are the scores of unit vectors
    coefficients = {p: [score(unit[i], p) for i in range(n_images)] for p in everyone}
    target = {
        p: sum(
            weights[i] * weights[j] * covariance(i, j)
            for i in range(n_images)
            for j in range(n_images)
            if patients[i] == patients[j] == p
        )
        for p in everyone
    }
    between = {
        (p, q): sum(
            coefficients[p][i] * coefficients[q][j] * covariance(i, j) for i in range(n_images) for j in range(n_images)
        )
        for p in everyone
        for q in everyone
    }
    k = {p: between[p, p] / target[p] for p in everyone}
    d = sum(target.values()) ** 2 / sum(between[p, q] ** 2 / (k[p] * k[q]) for p in everyone for q in everyone)

    sums = [sum(weights[i] * row[i] for i in range(n_images)) for row in values]
    effect = sum(sums) / n_seeds
    v_seeds = sum((value - effect) ** 2 for value in sums) / (n_seeds - 1) / n_seeds
    v_clusters = v_interaction = 0.0
    for p in everyone:
        scores = [score(row, p) for row in values]
        mean = sum(scores) / n_seeds
        v_clusters += mean**2 / k[p]
        v_interaction += sum((value - mean) ** 2 for value in scores) / k[p] / (n_seeds * (n_seeds - 1))
    v_net = max(v_seeds - v_interaction, 0)
    v = v_clusters + v_net
    return effect, v**0.5, v**2 / (v_clusters**2 / d + v_seeds * v_net / (n_seeds - 1))


@pytest.mark.parametrize(("quantity", "n_train"), [("test", 0), ("test", 5), ("gap", 5), ("train", 7)])
def test_crossed_interval_is_that_of_plain_loops(quantity, n_train):
    patients = "aaabbcaabbbd"
    values = np.random.default_rng(n_train).normal(size=(4, 12)) + np.array([[0.0], [1.0], [-1.0], [2.0]])
    train, test = [1 / n_train if n_train else 0.0] * n_train, [1 / (12 - n_train)] * (12 - n_train)
    used = {"train": slice(n_train), "test": slice(n_train, None), "gap": slice(None)}[quantity]
    weights = ([*train, *(-value for value in test)] if quantity == "gap" else [*train, *test])[used]
    effect, se, df = brute_force(values[:, used], weights, patients[used])
    contrast = study(values, patients, quantity, n_train)
    found = contrast.over_patients
    assert (found.effect, found.se, found.df) == pytest.approx((effect, se, df), rel=1e-10)
    half_width = stats.t.ppf(0.975, df) * se
    assert (found.ci_low, found.ci_high) == pytest.approx((effect - half_width, effect + half_width), rel=1e-10)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(effect) / se, df), rel=1e-10)
    assert (contrast.n_runs, contrast.n_patients) == (4, len(set(patients[used])))


def test_two_patients_of_two_images_by_hand():
    # Patient means 1 and 3, runs alike: a t interval on 1 degree of freedom around 2, standard error 1.
    contrast = study([[1, 1, 3, 3], [1, 1, 3, 3]], "aabb")
    found, seeds = contrast.over_patients, contrast.over_seeds
    assert (found.effect, found.se, found.df, contrast.variance.clusters) == pytest.approx((2, 1, 1, 2))
    assert (found.ci_low, found.ci_high) == pytest.approx((2 - 12.7062047, 2 + 12.7062047))
    assert (seeds.ci_low, seeds.ci_high, contrast.n_images, contrast.n_patients) == (2, 2, 4, 2)


def test_two_seeds_by_hand():
    # All images alike, runs 1 and 3: the same interval, from seeds alone.
    contrast = study([[1, 1, 1, 1], [3, 3, 3, 3]], "aabb")
    found, seeds = contrast.over_patients, contrast.over_seeds
    assert (found.effect, found.se, found.df) == pytest.approx((2, 1, 1))
    assert (seeds.ci_low, seeds.ci_high) == pytest.approx((2 - 12.7062047, 2 + 12.7062047))


def test_gap_weighs_train_against_test():
    found = study([[4, 6, 1], [4, 6, 1]], "abc", "gap", n_train=2)
    assert found.over_patients.effect == 4
    assert np.isnan(found.over_patients.se)  # a single test image tells no variance
    one_patient = study(simulated(0, images=4), "abaa", "gap", n_train=2)  # of all test images
    assert np.isnan(one_patient.over_patients.se)
    assert study([[4, 6, 1, 2], [4, 6, 1, 2]], "abab", "gap", n_train=2).over_patients.effect == 3.5


def test_patients_of_equal_sizes_count_in_full_and_unequal_ones_less():
    values = simulated(0, images=12)
    assert study(values, "aaabbbcccddd").variance.clusters == pytest.approx(4)
    assert study(values, "aaaaaaaaabcd").variance.clusters < 3


def test_unknown_patients_make_each_image_a_cluster():
    found = study(simulated(0), NINE, known=False)
    assert found.n_patients is None
    assert found.variance.clusters == pytest.approx(60)


@pytest.mark.parametrize("seed", range(5))
def test_equivalence_is_that_of_statsmodels_where_runs_are_alike(seed):
    # Then the crossed interval is the paired t interval over images.
    image = np.random.default_rng(seed).normal(0.004, 0.02, 60)
    found = study([image, image, image], "".join(map(chr, range(200, 260)))).over_patients
    expected, *_ = ttost_paired(image, np.zeros(60), -0.01, 0.01)
    assert found.p_equivalent(0.01) == pytest.approx(expected, abs=1e-12)
    assert found.p_value == pytest.approx(stats.ttest_1samp(image, 0).pvalue, abs=1e-12)
    above = stats.ttest_1samp(image, -0.01, alternative="greater").pvalue
    assert found.p_above(-0.01) == pytest.approx(above, abs=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_holm_is_that_of_statsmodels_and_its_intervals_agree(seed):
    rng = np.random.default_rng(seed)
    p_values = rng.uniform(0, rng.choice([0.02, 0.1, 1]), rng.integers(1, 9))
    family = {str(i): of_p(p) for i, p in enumerate(p_values)}
    adjusted = holm(family)
    rejected, expected, *_ = multipletests(p_values, 0.05, "holm")
    assert list(adjusted) == list(family)
    assert [c.p_value for c in adjusted.values()] == pytest.approx(expected.tolist(), abs=1e-12)
    assert [c.ci_low > 0 for c in adjusted.values()] == rejected.tolist()


def of_p(p: float) -> Estimate:
    """A positive effect with this p value, and a standard error of 1 on 7 degrees of freedom."""
    return Estimate(float(stats.t.isf(p / 2, 7)), 0.0, 0.0, p, 1.0, 7.0)


def test_holm_by_hand():
    adjusted = holm({"weak": of_p(0.04), "strong": of_p(0.01), "none": of_p(0.5)})
    assert [c.p_value for c in adjusted.values()] == pytest.approx([0.08, 0.03, 0.5])
    # Levels 5% / 3 for the strongest, 5% / 2 for the next, which fails, and so for the last.
    for name, tests in (("strong", 3), ("weak", 2), ("none", 2)):
        c = adjusted[name]
        assert c.ci_high - c.effect == pytest.approx(stats.t.ppf(1 - 0.025 / tests, 7))


def test_spearman_is_that_of_scipy():
    x, y = np.random.default_rng(0).normal(size=(2, 60))
    for patients in (None, NINE):
        found = spearman(x, x + y, None if patients is None else list(patients))
        assert found.effect == pytest.approx(stats.spearmanr(x, x + y).statistic, abs=1e-12)
        assert -1 < found.ci_low < found.effect < found.ci_high < 1
        assert (found.p_value < 0.05) == (found.ci_low > 0)


def test_spearman_over_seeds_is_the_jackknife_of_runs():
    rng = np.random.default_rng(2)
    x = rng.normal(size=40)
    y = x + rng.normal(size=(5, 40))
    found = spearman_over_seeds(x, y)
    z, *without = (np.arctanh(stats.spearmanr(x, np.delete(y, left_out, axis=0).mean(axis=0)).statistic)
                   for left_out in ([], 0, 1, 2, 3, 4))  # fmt: skip
    se = np.sqrt(0.8 * sum((each - z) ** 2 for each in without))
    half_width = 2.776445 * se  # t(4) at 97.5%
    assert np.arctanh((found.effect, found.ci_low, found.ci_high)) == pytest.approx((z, z - half_width, z + half_width))
    assert spearman_over_seeds(x, y[:, :] * 0 + x).ci_low != found.ci_low
    assert np.isnan([spearman_over_seeds(x, y[:1]).ci_low, spearman_over_seeds(x, y * 0).effect]).all()


def test_spearman_without_patients_is_close_to_bonett_and_wright():
    x, y = np.random.default_rng(1).normal(size=(2, 400))
    found = spearman(x, x + y)
    half_width = 1.96 * np.sqrt((1 + found.effect**2 / 2) / 397)
    assert np.arctanh(found.ci_high) - np.arctanh(found.effect) == pytest.approx(half_width, rel=0.15)


def test_spearman_of_what_has_no_ranks_is_nan():
    x = np.arange(6.0)
    constant, perfect = spearman(x, np.ones(6)), spearman(x, x)
    lone = spearman(x, x[::-1] ** 2, ["a"] * 6)
    assert np.isnan(
        [constant.effect, constant.ci_low, constant.p_value, perfect.ci_low, lone.ci_low, lone.p_value]
    ).all()
    assert perfect.effect == pytest.approx(1)


@pytest.mark.parametrize(
    ("low", "high", "seeds", "above", "below"),
    [
        (0.001, 0.03, 6, "supported", "contradicted"),
        (-0.03, -0.001, 6, "contradicted", "supported"),
        (-0.009, 0.009, 6, "not supported", "not supported"),
        (-0.009, 0.011, 6, "not supported", "not supported"),  # within 0.010 at 90%
        (-0.009, 0.012, 6, "undecided", "undecided"),
        (-0.02, 0.005, 6, "undecided", "undecided"),
        (0.0, 0.02, 6, "undecided", "undecided"),
        (0.001, 0.005, 20, "supported", "contradicted"),
        (0.001, 0.03, 5, "undecided", "undecided"),
        (-0.001, 0.001, 5, "undecided", "undecided"),
        (np.nan, np.nan, 20, "undecided", "undecided"),
        (-np.inf, np.inf, 20, "undecided", "undecided"),
    ],
)
def test_directional_verdict_follows_the_interval(low, high, seeds, above, below):
    assert directional_verdict(normal(low, high), seeds) == above
    assert directional_verdict(normal(low, high), seeds, claimed=-1) == below


def normal(low: float, high: float) -> Estimate:
    """A normal estimate with this 95% interval."""
    half_width = (high - low) / 2
    return Estimate(low + half_width, low, high, 0.5, half_width / 1.959964, np.inf)


@pytest.mark.parametrize(
    ("low", "high", "seeds", "verdict"),
    [
        (-0.009, 0.05, 6, "supported"),
        (-0.03, -0.011, 6, "contradicted"),
        (-0.011, 0.01, 6, "supported"),  # above -0.010 in a one-sided test at 5%
        (-0.012, 0.01, 6, "undecided"),
        (-0.03, -0.009, 6, "undecided"),
        (-0.009, 0.05, 5, "undecided"),
        (np.nan, np.nan, 20, "undecided"),
    ],
)
def test_noninferiority_verdict_follows_the_interval(low, high, seeds, verdict):
    assert noninferiority_verdict(normal(low, high), seeds) == verdict
    assert noninferiority_verdict(normal(-high, -low), seeds, claimed=-1) == verdict


@pytest.mark.parametrize("scale", [0.3, 1, 3])
def test_not_supported_is_an_equivalence_test_at_5_percent_where_the_interval_holds_zero(scale):
    for seed in range(20):
        found = study(simulated(seed) * scale, NINE).over_patients
        low, high = found.interval(0.90)
        not_supported = directional_verdict(found, 20) == "not supported"
        assert not_supported == (low > -0.01 and high < 0.01 and found.ci_low <= 0 <= found.ci_high)
        assert found.p_equivalent(found.smallest_margin) == pytest.approx(0.05)
        for margin, word in ((0.99, "undecided"), (1.01, "not supported")):
            holds_zero = found.ci_low <= 0 <= found.ci_high
            assert not holds_zero or directional_verdict(found, 20, margin=margin * found.smallest_margin) == word


def test_equivalence_is_not_made_harder_by_the_number_of_contrasts():
    found = Estimate.unadjusted(0.001, 0.004, 30)
    adjusted = holm(dict.fromkeys(range(6), found))[0]
    assert adjusted.ci_high > 0.01 > found.interval(0.90)[1]
    assert directional_verdict(adjusted, 20) == "not supported"


def test_one_seed_tells_no_interval():
    contrast = study(simulated(0, seeds=1), NINE)
    found = contrast.over_patients
    assert np.isfinite(found.effect)
    unknown = (found.se, found.ci_low, found.p_value, contrast.over_seeds.ci_low, contrast.variance.clusters)
    assert np.isnan(unknown).all()
    assert directional_verdict(found, contrast.n_runs) == "undecided"
    assert np.isnan([holm({"a": found, "b": of_p(0.02)})["a"].ci_low, holm({"a": found})["a"].p_value]).all()
    assert holm({"a": found, "b": of_p(0.02)})["b"].p_value == pytest.approx(0.04)


def test_of_networks_trained_once_an_interval_over_patients_is_a_t_interval_of_their_means():
    values = simulated(0, seeds=1, effect=0.02)[:, :54]
    patients = "".join(letter * 6 for letter in NINE[0] + "bcdefghi")
    columns, identities = by_letter(patients, 0)
    found = over_patients_alone(pd.DataFrame(values, columns=columns), "test", identities)
    of_patient = values[0].reshape(9, 6).mean(axis=1)
    expected = stats.ttest_1samp(of_patient, 0).confidence_interval(0.95)
    assert (found.effect, found.ci_low, found.ci_high) == pytest.approx((of_patient.mean(), *expected))


def test_of_networks_trained_once_patients_of_unequal_sizes_count_as_in_any_contrast():
    values = simulated(0, seeds=1, effect=0.02)
    columns, identities = by_letter(NINE, 0)
    found = over_patients_alone(pd.DataFrame(values, columns=columns), "test", identities)
    alike = values + np.array([[0.01], [-0.01], [0.0]])  # runs that differ by a number each, which is not the patients'
    over_patients = study(alike, NINE).over_patients
    assert found.effect == pytest.approx(over_patients.effect)
    assert found.se**2 + 0.0001 / 3 == pytest.approx(over_patients.se**2)


def test_one_patient_tells_no_headline_interval():
    contrast = study(simulated(0, effect=1), "a" * 60)
    found = contrast.over_patients
    assert np.isnan([found.se, found.ci_low, found.p_value, found.p_equivalent()]).all()
    assert contrast.over_seeds.ci_low > 0.9  # training noise alone is known
    assert directional_verdict(found, contrast.n_runs) == "undecided"


def test_variants_that_never_differ_are_equivalent():
    found = study(np.zeros((6, 60)), NINE).over_patients
    assert (found.effect, found.se, found.ci_low, found.ci_high, found.p_value) == (0, 0, 0, 0, 1)
    assert (found.p_equivalent(), found.p_above(-0.01), found.p_above(0.01)) == (0, 0, 1)
    assert directional_verdict(found, 6) == "undecided"  # they may all answer alike


def test_a_constant_difference_is_its_own_interval():
    found = study(np.full((6, 60), 0.25), NINE).over_patients
    assert (found.ci_low, found.ci_high, found.p_value) == pytest.approx((0.25, 0.25, 0), abs=1e-9)


def test_supported_vanishes_where_labels_are_shuffled_within_pairs():
    found = study(values := simulated(1, effect=0.02), NINE).over_patients
    assert directional_verdict(found, 20) == "supported"
    rng = np.random.default_rng(2)
    shuffled = values * rng.choice([-1, 1], size=(2000, 20, 1))
    clusters = np.unique(list(NINE), return_inverse=True)[1]
    errors = crossed_errors(shuffled, np.full(60, 1 / 60), clusters)
    supported = errors.effect - stats.t.ppf(0.975, errors.df) * errors.se > 0
    assert supported.mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 2000)


def image_scores(*variants: str, seeds: int = 2) -> pd.DataFrame:
    keys = [
        (v, s, split, f"image_{i}")
        for v in variants
        for s in range(seeds)
        for split in ("train", "test")
        for i in range(3)
    ]
    index = pd.MultiIndex.from_tuples(keys, names=["variant", "seed", "split", "image"])
    return pd.DataFrame({"dsc": np.random.default_rng(0).uniform(size=len(keys))}, index=index)


def test_image_differences_agree_with_the_differences_of_means():
    by_image = image_scores("noise", "baseline", seeds=3)
    differences = image_differences(by_image, "noise", "dsc")
    assert differences.shape == (3, 6)
    means = by_image.groupby(["variant", "seed", "split"])["dsc"].mean().unstack("split")
    means["gap"] = means["train"] - means["test"]
    expected = means.loc["noise"] - means.loc["baseline"]
    for quantity in ("test", "train", "gap"):
        assert effect_by_seed(differences, quantity) == pytest.approx(expected[quantity].tolist())
        assert contrast(differences, quantity).over_patients.effect == pytest.approx(expected[quantity].mean())


def test_with_very_many_images_the_interval_is_that_of_independent_ones():
    rng = np.random.default_rng(4)
    values = rng.normal(0.01, 1, (1, 2, 5000)).repeat(3, axis=1)[:, :6] + rng.normal(0, 1e-6, (1, 6, 5000))
    errors = crossed_errors(values, np.full(5000, 1 / 5000), np.arange(5000))
    assert errors.se[0] == pytest.approx(stats.sem(values[0].mean(axis=0)), rel=1e-3)
    assert errors.effective_clusters == pytest.approx(5001)


def test_a_third_variant_with_other_seeds_changes_nothing():
    by_image = image_scores("noise", "baseline", seeds=3)
    more = pd.concat([image_scores("l2", seeds=5), by_image])
    assert image_differences(more, "noise", "dsc").equals(image_differences(by_image, "noise", "dsc"))


def test_a_contrast_of_unlike_runs_or_images_is_refused():
    by_image = image_scores("noise", "baseline", seeds=3)
    for missing in (("noise", 2, "test", "image_0"), ("baseline", 0, "train", "image_1")):
        with pytest.raises(ValueError, match="noise: expected the seeds and images of baseline"):
            image_differences(by_image.drop(index=[missing]), "noise", "dsc")
    differences = image_differences(by_image, "noise", "dsc")
    with pytest.raises(ValueError, match=r"quantity: expected a split of \['test', 'train'\] or gap, found 'tset'"):
        contrast(differences, "tset")
    with pytest.raises(KeyError):
        contrast(differences, "test", {})


def over_seeds(effect: float, se: float, n_runs: int = 20) -> tuple[Estimate, Variance]:
    return Estimate.unadjusted(effect, se, n_runs - 1), Variance.of_seeds(se, n_runs)


@pytest.mark.parametrize(("effect", "se"), [(0.012, 0.006), (-0.02, 0.012), (0.011, 0.0075)])
def test_the_number_of_seeds_that_would_show_an_effect_is_that_of_a_paired_t_test(effect, se):
    standardized = abs(effect) / (se * 20**0.5)
    expected = TTestPower().solve_power(effect_size=standardized, alpha=0.05, power=0.8)
    assert to_decide(*over_seeds(effect, se)) == Needed(False, int(np.ceil(expected)), None)


def test_an_effect_within_the_margin_is_planned_to_be_found_too_small():
    """Two one-sided tests, counted in draws: 80% reject at that number of seeds, and fewer at one less."""
    estimate, variance = over_seeds(0.003, 0.0045)
    needed = to_decide(estimate, variance)
    assert (needed.no_effect, needed.n_patients) == (True, None)
    rng = np.random.default_rng(1)

    def power(n: int) -> float:
        draws = rng.normal(0, 0.0045 * 20**0.5, (40_000, n))
        half_width = stats.t.ppf(0.95, n - 1) * draws.std(axis=1, ddof=1) / n**0.5
        return float(np.mean(np.abs(draws.mean(axis=1)) + half_width < 0.01))

    assert power(needed.n_runs) == pytest.approx(0.8, abs=0.015)
    assert power(needed.n_runs - 2) < 0.8


def test_what_the_study_had_power_for_already_is_not_planned_again():
    """No effect would have been found too small by now: more runs are asked to show the one that was found."""
    assert to_decide(*over_seeds(0.006, 0.0040)).no_effect is True
    estimate, variance = over_seeds(0.006, 0.0031)
    assert to_decide(estimate, variance).no_effect is False
    widened = Estimate.unadjusted(0.006, 1.5 * 0.0031, 19)  # as at an early look, which had less power
    assert to_decide(widened, variance).no_effect is True


def test_a_plan_is_for_the_level_of_the_interval_as_it_is_adjusted():
    estimate, variance = over_seeds(0.012, 0.006)
    adjusted = holm({"one": estimate, "other": Estimate.unadjusted(0, 1, 19)})["one"]
    assert to_decide(adjusted, variance).n_runs > to_decide(estimate, variance).n_runs


def test_nothing_lost_is_planned_by_the_distance_from_the_margin():
    """One-sided at 5% where the estimate is above -margin; two-sided where it is below."""
    estimate, variance = over_seeds(0.001, 0.0062)
    expected = TTestPower().solve_power(0.011 / (0.0062 * 20**0.5), alpha=0.05, power=0.8, alternative="larger")
    assert to_decide(estimate, variance, bound=-0.01).n_runs == int(np.ceil(expected))
    lost, variance = over_seeds(-0.021, 0.0062)
    expected = TTestPower().solve_power(0.011 / (0.0062 * 20**0.5), alpha=0.05, power=0.8)
    assert to_decide(lost, variance, bound=-0.01).n_runs == int(np.ceil(expected))


def test_patients_are_asked_for_where_runs_alone_would_not_do():
    of_patients = np.repeat([0.05, 0.15, 0.0, 0.06, 0.09, -0.05], 10)
    values = np.random.default_rng(0).normal(0, 0.002, (8, 60)) + of_patients
    found = study(values, "a" * 10 + "b" * 10 + "c" * 10 + "d" * 10 + "e" * 10 + "f" * 10)
    needed = to_decide(found.over_patients, found.variance)
    assert needed.n_runs is None
    assert needed.n_patients > 6
    assert found.variance.error(8, 6) == pytest.approx((found.over_patients.se, found.over_patients.df))
    half_as_wide, df = found.variance.error(8, 24)
    assert half_as_wide == pytest.approx(found.over_patients.se / 2, rel=0.01)
    assert df > 4 * found.over_patients.df


@pytest.mark.parametrize("seed", range(3))
def test_the_variance_of_a_contrast_is_what_its_error_is_made_of(seed):
    of_patients = np.array([0.03 * (ord(patient) % 3) for patient in NINE])
    found = study(simulated(seed) + of_patients, NINE)
    at_hand = found.variance.error(found.n_runs, found.n_patients)
    assert at_hand == pytest.approx((found.over_patients.se, found.over_patients.df))
    alike = study(simulated(seed), NINE)  # patients that do not differ: runs by patients explain them wholly
    assert alike.variance.error(alike.n_runs, alike.n_patients)[0] == pytest.approx(alike.over_patients.se)


def test_an_unknown_error_or_none_has_no_plan():
    assert to_decide(*over_seeds(0.012, float("nan"))) is None
    assert to_decide(*over_seeds(0.012, 0.0)) is None
    assert to_decide(*over_seeds(0.0101, 0.5)) == Needed(False, None, None)


def test_a_correlation_is_decided_by_patients_alone():
    rho = Interval(*np.tanh([0.3, 0.3 - 0.5, 0.3 + 0.5]).tolist(), p_value=0.2)
    needed = to_decide_correlation(rho, 20, 9)
    assert needed.n_runs is None
    se = 0.5 / stats.t.ppf(0.975, 8)
    expected = TTestPower().solve_power(0.3 / (se * 9**0.5), alpha=0.05, power=0.8)
    assert needed.n_patients == int(np.ceil(expected))
    assert to_decide_correlation(Interval(0.3, float("nan"), float("nan"), float("nan")), 20, 9) is None
