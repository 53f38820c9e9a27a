"""`make calibrate`: how often the report's intervals cover a known effect, in simulated studies like the real one.

A study has 85 training and 60 test images of 16 patients, half of whom have both, as in the Warwick-QU set. The
difference between two variants is a sum of normal effects: of the seed, of the patient, of the image, of the patient in
that seed, and a residual. The true effect is 0: another moves estimate and interval alike, and coverage is the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import stats

from lib._files import ROOT
from lib.claims.intervals import (
    ALPHA,
    FEWEST_SEEDS,
    LEVEL,
    LOOKS,
    MARGIN,
    POWER,
    CrossedErrors,
    Estimate,
    Needed,
    Variance,
    crossed_errors,
    look_factor,
    mean_variance,
    spearman,
    to_decide,
)

STUDIES = 4000
PILOTS = 100
LARGE = 2.2  # standard errors: an effect that an interval holds or not, about as often
CORRELATIONS = 1000  # studies of Spearman's rho, which are not computed all at once
BATCH = 250
RESAMPLES = 999
SEEDS = (3, 6, 20)
DIVISIONS = (2, 4, 6, 8)
COLUMNS = (
    "scenario",
    "covers",
    "false supported",
    "false not supported",
    "seeds only",
    "patients unknown",
    "bootstrap",
    "half-width",
)
TRAIN = np.repeat(np.arange(16), [12, 16, 8, 4, 4, 4, 4, 1, 8, 15, 4, 0, 1, 1, 1, 2])  # the patient of each image
TEST = np.repeat(np.arange(16), [0, 0, 1, 14, 0, 0, 12, 0, 8, 8, 12, 1, 2, 0, 2, 0])


@dataclass(frozen=True)
class Scenario:
    """Standard deviations of what a difference is made of, in units of the score.

    Effects are normal, or t with 3 df where tails are heavy; those of patients are lognormal (sigma 1, mean 0) where
    they are skewed. The share of runs that collapse loses COLLAPSE on all images.
    """

    name: str
    seed: float
    patient: float
    image: float
    seed_patient: float
    residual: float
    heavy: bool = False
    skewed: bool = False
    collapsed: float = 0


# The first three are estimates by the method of moments from 20 paired runs on the test split of the Warwick-QU images,
# rounded means over DSC and Dice. The others span what may be met.
SCENARIOS = (
    Scenario("as measured: noise", 0.009, 0.003, 0.026, 0.013, 0.038),
    Scenario("as measured: L2", 0.009, 0.005, 0.004, 0.017, 0.043),
    Scenario("as measured: dropout", 0.028, 0.015, 0.120, 0.045, 0.078),
    Scenario("small", 0.010, 0.010, 0.030, 0, 0.020),
    Scenario("large", 0.020, 0.030, 0.060, 0.015, 0.040),
    Scenario("no patient effect", 0.010, 0, 0.045, 0, 0.030),
    Scenario("no patient, larger seed effect", 0.020, 0, 0.030, 0, 0.030),
    Scenario("no seed effect", 0, 0.020, 0.045, 0, 0.030),
    Scenario("no seed, larger patient effect", 0, 0.030, 0.030, 0, 0.020),
    Scenario("neither", 0, 0, 0.030, 0, 0.030),
    Scenario("mostly patients", 0.010, 0.030, 0.010, 0.010, 0.020),
    Scenario("mostly seeds", 0.030, 0.010, 0.030, 0.010, 0.030),
    Scenario("large, heavy tails", 0.020, 0.030, 0.060, 0.015, 0.040, heavy=True),
    Scenario("skewed patients", 0.010, 0.030, 0.030, 0.010, 0.020, skewed=True),
    Scenario("one run in ten collapses", 0.010, 0.010, 0.030, 0, 0.020, collapsed=0.1),
)
COLLAPSE = 0.3  # of the score


def layout(quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns the patient and the weight of each image in the contrast of the test score or of the gap."""
    test = np.full(len(TEST), 1 / len(TEST))
    if quantity == "test":
        return TEST, test
    return np.concatenate([TRAIN, TEST]), np.concatenate([np.full(len(TRAIN), 1 / len(TRAIN)), -test])


def simulate(
    scenario: Scenario, quantity: str, n_seeds: int, studies: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns differences (study, seed, image), and each study's effect on its own images, which seeds vary about."""
    patients, weights = layout(quantity)
    draw = _draws(scenario, rng)
    patient = draw(scenario.patient, studies, 1, 16)
    if scenario.skewed:
        patient = _skewed(scenario, patient.shape, rng)
    fixed = patient[..., patients] + draw(scenario.image, studies, 1, len(patients))
    # A seed's effect is on test images alone: one on all images would cancel in the gap.
    seed = draw(scenario.seed, studies, n_seeds, 1)
    seed -= COLLAPSE * ((rng.random(seed.shape) < scenario.collapsed) - scenario.collapsed)  # its mean stays 0
    seed = seed * (weights == weights[-1])
    varying = seed + draw(scenario.seed_patient, studies, n_seeds, 16)[..., patients]
    residual = draw(scenario.residual, studies, n_seeds, len(patients))
    return fixed + varying + residual, (fixed @ weights)[:, 0]


def _draws(scenario: Scenario, rng: np.random.Generator) -> Callable[..., np.ndarray]:
    """Returns what draws effects of a standard deviation in a shape: normal, or with heavy tails."""

    def draw(sd: float, *shape: int) -> np.ndarray:
        if scenario.heavy:
            return sd / np.sqrt(3) * rng.standard_t(3, shape)
        return rng.normal(0, sd, shape)

    return draw


def _skewed(scenario: Scenario, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Returns effects of patients that are lognormal with mean 0 and the scenario's standard deviation."""
    sd = np.sqrt((np.e - 1) * np.e)  # of a lognormal variable with sigma 1, whose mean is sqrt(e)
    return scenario.patient * (rng.lognormal(size=shape) - np.sqrt(np.e)) / sd


def _rates(found: CrossedErrors) -> dict[str, np.ndarray]:
    """Returns of each study whether the interval covers 0, and whether a verdict is false, and the half-width."""
    half_width = stats.t.ppf((1 + LEVEL) / 2, found.df) * found.se
    return {
        "coverage": np.abs(found.effect) <= half_width,
        "supported": found.effect > half_width,
        "too small": (np.abs(found.effect) <= half_width) & _equivalent(found, found.effect),
        # The same study with a true effect of the margin: the interval holds 0, and both one-sided tests reject.
        "not supported": (np.abs(found.effect + MARGIN) <= half_width) & _equivalent(found, found.effect + MARGIN),
        "half-width": half_width,
    }


def _equivalent(found: CrossedErrors, effect: np.ndarray) -> np.ndarray:
    """Returns of each study whether two one-sided tests show an effect to be smaller than the margin."""
    return np.abs(effect) + stats.t.ppf(1 - ALPHA, found.df) * found.se < MARGIN


def _joined(counts: dict[str, list[np.ndarray]]) -> dict[str, float]:
    """Returns the means over studies, and the median half-width."""
    return {
        name: float(np.median(values) if name == "half-width" else np.mean(values)) for name, values in counts.items()
    }


def bootstrap(differences: np.ndarray, quantity: str, rng: np.random.Generator) -> np.ndarray:
    """Returns percentile intervals (2, study) from resampling patients and, independently, seeds (Owen 2007)."""
    patients, weights = layout(quantity)
    n_seeds = differences.shape[1]
    present = np.unique(patients)
    member = patients[:, None] == present
    drawn = rng.multinomial(len(present), np.full(len(present), 1 / len(present)), RESAMPLES)  # (resample patient)
    seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), RESAMPLES) / n_seeds
    means = np.zeros((len(differences), RESAMPLES))
    for sign in np.unique(np.sign(weights)):
        counted = member * (np.sign(weights) == sign)[:, None]
        sums = np.swapaxes(differences, 1, 2).reshape(-1, len(patients), n_seeds)
        by_patient = np.einsum("kis,ip->ksp", sums, counted, optimize=True)
        images = np.maximum(drawn @ counted.sum(axis=0), 1)  # of the resample; without any, its sum is 0
        means += sign * np.einsum("ksp,bp,bs->kb", by_patient, drawn / images[:, None], seeds, optimize=True)
    return np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1)


def calibrate(scenario: Scenario, quantity: str, n_seeds: int, studies: int, random_state: int) -> dict[str, float]:
    """Returns rates over simulated studies, in [0, 1], and the median half-width of the interval."""
    patients, weights = layout(quantity)
    rng = np.random.default_rng(random_state)
    counts: dict[str, list[np.ndarray]] = {}
    for _ in range(studies // BATCH):
        differences, on_these_images = simulate(scenario, quantity, n_seeds, BATCH, rng)
        found = crossed_errors(differences, weights, patients)
        unknown = crossed_errors(differences, weights, np.arange(len(weights)))
        seed_half_width = stats.t.ppf((1 + LEVEL) / 2, n_seeds - 1) * found.seed_se
        low, high = bootstrap(differences, quantity, rng)
        for name, values in {
            **_rates(found),
            "bootstrap": (low <= 0) & (high >= 0),
            "patients unknown": np.abs(unknown.effect) <= stats.t.ppf((1 + LEVEL) / 2, unknown.df) * unknown.se,
            "seed only": np.abs(found.effect - on_these_images) <= seed_half_width,
        }.items():
            counts.setdefault(name, []).append(values)
    return _joined(counts)


def calibrate_spearman(icc: float, correlation: float, studies: int, random_state: int) -> dict[str, float]:
    """Returns the coverage of the jackknife's interval and of Bonett and Wright's for two normal quantities."""
    rng = np.random.default_rng(random_state)
    factor = np.linalg.cholesky([[1, correlation], [correlation, 1]])
    truth = 6 / np.pi * np.arcsin(correlation / 2)  # Spearman's rho of two normal variables
    names = [str(patient) for patient in TEST]
    covered, independent = 0, 0
    for _ in range(studies):
        by_patient = (factor @ rng.normal(size=(2, 16)))[:, TEST]
        x, y = np.sqrt(icc) * by_patient + np.sqrt(1 - icc) * (factor @ rng.normal(size=(2, len(TEST))))
        found = spearman(x, y, names)
        covered += found.ci_low <= truth <= found.ci_high
        half_width = stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt((1 + found.effect**2 / 2) / (len(TEST) - 3))
        independent += abs(np.arctanh(found.effect) - np.arctanh(truth)) <= half_width
    return {"jackknife": covered / studies, "Bonett-Wright": independent / studies}


def simulate_divisions(
    scenario: Scenario, divisions: int, studies: int, rng: np.random.Generator, n_patients: int = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Returns differences on held-out images (study, division, image), and the patient of each image.

    Each division puts all patients into five folds at random, and each fold has a network of its own: its seed's effect
    is one on all images that it holds out, so that a fold's patients move together. More than 16 patients have as many
    images as the 16, over and over.
    """
    times = -(-n_patients // 16)
    patients = (np.concatenate([TRAIN, TEST]) + 16 * np.arange(times)[:, None]).ravel()
    patients = patients[patients < n_patients]
    shape = studies, divisions
    folds = np.arange(n_patients) % 5
    of_patient = rng.permuted(np.broadcast_to(folds, (*shape, n_patients)), axis=-1)
    draw = _draws(scenario, rng)
    network = draw(scenario.seed, *shape, 5)
    network -= COLLAPSE * ((rng.random(network.shape) < scenario.collapsed) - scenario.collapsed)
    varying = np.take_along_axis(network, of_patient, axis=-1) + draw(scenario.seed_patient, *shape, n_patients)
    patient = draw(scenario.patient, studies, 1, n_patients)
    if scenario.skewed:
        patient = _skewed(scenario, patient.shape, rng)
    image = draw(scenario.image, studies, 1, len(patients))
    residual = draw(scenario.residual, *shape, len(patients))
    return (patient + varying)[..., patients] + image + residual, patients


def divided(
    scenario: Scenario, divisions: int, n_patients: int, studies: int, rng: np.random.Generator
) -> CrossedErrors:
    """Returns what studies of divisions into folds find."""
    differences, patients = simulate_divisions(scenario, divisions, studies, rng, n_patients)
    return crossed_errors(differences, np.full(len(patients), 1 / len(patients)), patients)


def single_studies(found: CrossedErrors) -> list[CrossedErrors]:
    """Returns what was found in many studies as one for each study."""
    by_study = {name: values for name, values in vars(found).items() if np.ndim(values)}
    return [
        replace(found, **{name: values[[i]] for name, values in by_study.items()}) for i in range(len(found.effect))
    ]


@dataclass(frozen=True)
class Plan:
    """What `calibrate_plan` finds.

    Attributes:
        true: effect. needed: as told from the mean variances of studies of 8 divisions.
        power: share of studies of that size that find the effect, or that it is too small.
        own: that share where each study's size is told from the variances of one study of 8 divisions.
    """

    true: float
    needed: Needed
    power: float
    own: float


def calibrate_plan(scenario: Scenario, effect: float, studies: int, random_state: int) -> Plan | None:
    """Returns what would decide a study of 8 divisions of 16 patients, and how often such studies decide rightly.

    Args:
        effect: the true one, in standard errors of a study of 8 divisions; 0 for one that should be found too small.
        studies: simulated; each of the first PILOTS is asked for a plan of its own as well.

    Returns:
        None where no number of divisions or patients is told, or where it is told for another effect than the true one.
    """
    rng = np.random.default_rng(random_state)
    pilots = divided(scenario, 8, 16, studies, rng)
    known = mean_variance(pilots, 8, 16)
    true = effect * known.error(8, 16)[0]

    def plan(variance: Variance) -> Needed | None:
        needed = to_decide(Estimate.unadjusted(true, *variance.error(8, 16)), variance)
        told = needed and (needed.n_runs or needed.n_patients) and needed.no_effect == (not effect)
        return needed if told else None

    def rightly(needed: Needed, count: int) -> np.ndarray:
        found = divided(scenario, needed.n_runs or 8, needed.n_patients or 16, count, rng)
        return _rates(replace(found, effect=found.effect + true))["too small" if needed.no_effect else "supported"]

    needed = plan(known)
    if needed is None:
        return None
    own = Counter(plan(mean_variance(one, 8, 16)) for one in single_studies(pilots)[:PILOTS])
    by_size = [rightly(size, 2 * count) for size, count in own.items() if size]
    power = np.concatenate([rightly(needed, BATCH) for _ in range(studies // BATCH)])
    return Plan(true, needed, float(power.mean()), float(np.concatenate(by_size).mean()))


def calibrate_divisions(scenario: Scenario, divisions: int, studies: int, random_state: int) -> dict[str, float]:
    """Returns rates as `calibrate` does, of the interval over divisions of all images into folds."""
    rng = np.random.default_rng(random_state)
    counts: dict[str, list[np.ndarray]] = {}
    for _ in range(studies // BATCH):
        for name, values in _rates(divided(scenario, divisions, 16, BATCH, rng)).items():
            counts.setdefault(name, []).append(values)
    return _joined(counts)


def family_error(n_seeds: int, studies: int, random_state: int) -> float:
    """Returns how often Holm finds any effect in six contrasts, test and gap of three variants, all of which are 0."""
    rng = np.random.default_rng(random_state)
    shown, weights = layout("gap")
    test = weights < 0
    found = np.zeros(studies, dtype=bool)
    for start in range(0, studies, BATCH):
        # Each variant's differences hold those of the baseline that all are compared with: a correlation of 1/2.
        networks = [simulate(SCENARIOS[1], "gap", n_seeds, BATCH, rng)[0] for _ in range(4)]
        for network in networks[1:]:
            differences = (network - networks[0]) / np.sqrt(2)
            for errors in (
                crossed_errors(differences, weights, shown),
                crossed_errors(differences[:, :, test], -weights[test], shown[test]),
            ):
                p = 2 * stats.t.sf(np.abs(errors.effect) / errors.se, errors.df)
                found[start : start + BATCH] |= p < (1 - LEVEL) / 6  # Holm's first step: without it there are no others
    return float(found.mean())


def percent(rate: float, low: float = 0, high: float = 1) -> str:
    """Returns a rate in percent, in bold outside of its bounds."""
    text = f"{100 * rate:.1f}"
    return text if low <= rate <= high else f"**{text}**"


def page(studies: int, correlations: int) -> Iterator[str]:
    """Yields the lines of docs/calibration.md."""
    rows = [
        (n_seeds, quantity, scenario, calibrate(scenario, quantity, n_seeds, studies, 1000 * n_seeds + number))
        for n_seeds in SEEDS
        for quantity in ("test", "gap")
        for number, scenario in enumerate(SCENARIOS)
    ]
    error = 1.96 * np.sqrt(LEVEL * (1 - LEVEL) / studies)
    yield "# How often the intervals cover"
    yield ""
    yield "Written by `make calibrate` ([tests/tools/calibrate.py](../tests/tools/calibrate.py)); do not edit."
    yield ""
    yield f"Each row: {studies:,} simulated studies of 60 test images of 9 patients (1 to 14 images each) and, for the"
    yield "gap, 85 training images of 15 patients, 8 of them the same. All in percent, with a Monte Carlo error of"
    yield f"± {100 * error:.1f} (95% of the time) where 95 is expected."
    yield ""
    yield "- **covers**: the headline interval holds the true effect; bold outside of 93 to 97."
    yield "- **false supported**: the interval lies above 0 where the effect is 0; bold above 5."
    yield f"  With fewer than {FEWEST_SEEDS} seeds the verdict is undecided whatever the interval."
    yield f"- **false not supported**: the interval holds 0 and the effect is found to be smaller than {MARGIN} (two"
    yield f"  one-sided tests at {100 * ALPHA:.0f}%) where it is {MARGIN}; bold above 5."
    yield "- **seeds only**: the seed-only interval holds the effect on these very images; bold outside of 93 to 97."
    yield "- **patients unknown**: the headline interval covers where each image is taken for a patient of its own."
    yield "- **bootstrap**: a percentile bootstrap of patients and seeds covers (Owen 2007), for comparison."
    yield "- **half-width**: of the headline interval, median, in units of the score."
    yield ""
    yield "Scenarios are named by what makes differences vary; their standard deviations are in the table at the end."
    yield "Intervals are known to fail in the last two, where one patient lies far out and where runs collapse now and"
    yield "then; so few patients or runs leave no way to mend that. A collapsed run lies apart from the others in the"
    yield "figure of effects: look there before believing an interval."
    yield ""
    for failing in (scenario for scenario in SCENARIOS if scenario.skewed or scenario.collapsed):
        covers = [rates["coverage"] for n, _, s, rates in rows if s is failing and n >= FEWEST_SEEDS]
        span = f"{percent(min(covers))} to {percent(max(covers))}"
        yield f"- **fails**: {failing.name}, covers {span} from {FEWEST_SEEDS} seeds on."
    for n_seeds in SEEDS:
        for quantity in ("test", "gap"):
            mine = [(scenario, rates) for s, q, scenario, rates in rows if (s, q) == (n_seeds, quantity)]
            covers = [rates["coverage"] for _, rates in mine]
            yield ""
            yield f"## {n_seeds} seeds, {'test score' if quantity == 'test' else 'gap'}"
            yield ""
            yield f"Covers {percent(min(covers))} to {percent(max(covers))}."
            yield ""
            yield f"| {' | '.join(COLUMNS)} |"
            yield "| --- " * len(COLUMNS) + "|"
            for scenario, rates in mine:
                cells = (
                    scenario.name,
                    percent(rates["coverage"], 0.93, 0.97),
                    percent(rates["supported"], high=0.05),
                    percent(rates["not supported"], high=0.05),
                    percent(rates["seed only"], 0.93, 0.97),
                    percent(rates["patients unknown"]),
                    percent(rates["bootstrap"]),
                    f"{rates['half-width']:.3f}",
                )
                yield f"| {' | '.join(cells)} |"
    yield ""
    yield "## Holm's family"
    yield ""
    yield "Six contrasts, test and gap of three variants against one baseline, every effect 0. Any of them, in either"
    yield "direction, found after adjustment:"
    yield ""
    for n_seeds in SEEDS:
        yield f"- {n_seeds} seeds: {percent(family_error(n_seeds, studies, n_seeds), high=0.05)}"
    yield ""
    yield "## Divisions into folds"
    yield ""
    yield f"{studies:,} studies a row, of all 145 images of 16 patients, each held out once in every division at random"
    yield "into five folds that share no patient. Every fold has a network of its own. Bold outside of 93 to 97, and"
    yield "above 5; fewer than 6 divisions decide nothing."
    yield ""
    yield "| divisions | scenario | covers | false supported | false not supported | half-width |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for divisions in DIVISIONS:
        for number, scenario in enumerate(SCENARIOS):
            rates = calibrate_divisions(scenario, divisions, studies, 100 * divisions + number)
            cells = (
                percent(rates["coverage"], 0.93, 0.97),
                percent(rates["supported"], high=0.05),
                percent(rates["not supported"], high=0.05),
                f"{rates['half-width']:.4f}",
            )
            yield f"| {divisions} | {scenario.name} | {' | '.join(cells)} |"
    yield ""
    yield from plans(studies)
    yield ""
    yield from looks(studies)
    yield ""
    yield "## Spearman's rho"
    yield ""
    yield f"{correlations:,} studies a row, of 60 images of 9 patients and two normal quantities. ICC: the share of"
    yield "variance between patients. The jackknife leaves out patients; Bonett and Wright's formula takes images to be"
    yield "independent."
    yield ""
    yield "| ICC | correlation | jackknife covers | Bonett-Wright covers |"
    yield "| --- | --- | --- | --- |"
    for number, (icc, correlation) in enumerate((i, c) for i in (0, 0.2, 0.5) for c in (0, 0.3, 0.6)):
        jackknife, independent = calibrate_spearman(icc, correlation, correlations, number).values()
        yield f"| {icc} | {correlation} | {percent(jackknife, 0.93, 0.97)} | {percent(independent)} |"
    yield ""
    yield "## Scenarios"
    yield ""
    yield "Standard deviations, in units of the score. Those measured are estimates by the method of moments from 20"
    yield "paired runs of each variant on the test split of the Warwick-QU images, rounded means over DSC and Dice."
    yield ""
    yield "| scenario | seed | patient | image | patient in seed | residual |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for s in SCENARIOS:
        yield f"| {s.name} | {s.seed} | {s.patient} | {s.image} | {s.seed_patient} | {s.residual} |"


def calibrate_looks(scenario: Scenario, studies: int, random_state: int) -> dict[str, float]:
    """Returns the rates of false verdicts at any of LOOKS, with intervals widened for them or not."""
    rng = np.random.default_rng(random_state)
    counts: dict[str, list[np.ndarray]] = {}
    for _ in range(studies // BATCH):
        differences, patients = simulate_divisions(scenario, LOOKS[-1], BATCH, rng)
        weights = np.full(len(patients), 1 / len(patients))
        looks = {n: crossed_errors(differences[:, :n], weights, patients) for n in LOOKS}
        for name, widened in (("", True), (", not widened", False)):
            factors = {n: look_factor(n) if widened else 1 for n in LOOKS}
            rates = [_rates(replace(found, se=found.se * factors[n])) for n, found in looks.items()]
            counts.setdefault(f"found{name}", []).append(np.any([~rate["coverage"] for rate in rates], axis=0))
            too_small = np.any([rate["not supported"] for rate in rates], axis=0)
            counts.setdefault(f"not supported{name}", []).append(too_small)
    return _joined(counts)


def looks(studies: int) -> Iterator[str]:
    """Yields the lines of the section on studies that add divisions while they can decide."""
    yield "## Adding divisions while they can decide"
    yield ""
    numbers, factors = ", ".join(map(str, LOOKS)), ", ".join(f"{look_factor(n):.2f}" for n in LOOKS)
    yield f"`make study UNTIL=decided` may stop after {numbers} divisions, with errors multiplied by {factors}."
    yield f"{studies:,} studies a row, which all go on to the last: how often a verdict is false at any of the looks,"
    yield "and how often it is if nothing is widened. Bold above 5. Stopping early can only make them fewer."
    yield ""
    yield "| scenario | false supported or contradicted | not widened | false not supported | not widened |"
    yield "| --- | --- | --- | --- | --- |"
    for number, scenario in enumerate(SCENARIOS):
        rates = calibrate_looks(scenario, studies, number)
        names = ("found", "found, not widened", "not supported", "not supported, not widened")
        yield f"| {scenario.name} | {' | '.join(percent(rates[name], high=0.05) for name in names)} |"


def plans(studies: int) -> Iterator[str]:
    """Yields the lines of the section on the size of a study that would decide."""
    yield "## What would decide an open verdict"
    yield ""
    yield "After 8 divisions of 16 patients, a report says how many divisions would decide what is open with a power"
    yield f"of {POWER:.0%}, or how many patients where no number of divisions would. Two effects in each scenario: 0,"
    yield f"which should be found to be within {MARGIN}, and {LARGE} standard errors of 8 divisions, which should be"
    yield "found. Rows are left out where the report would plan for another effect, or names no size."
    yield ""
    yield f"- **decides**: share of {studies:,} studies of the size named that find what is true, if variances are"
    yield "  known; bold outside of 75 to 85. The last two scenarios rest on intervals that fail."
    yield f"- **from one study**: the same where sizes are named from single studies of 8 divisions, {PILOTS} of them,"
    yield "  whose variances are estimates."
    yield ""
    yield "| scenario | true effect | would decide | decides | from one study |"
    yield "| --- | --- | --- | --- | --- |"
    for number, scenario in enumerate(SCENARIOS):
        for effect in (0, LARGE):
            if plan := calibrate_plan(scenario, effect, studies, number):
                runs, patients = plan.needed.n_runs, plan.needed.n_patients
                size = f"{runs} divisions" if runs else f"{patients} patients"
                cells = (f"{plan.true:.3f}", size, percent(plan.power, 0.75, 0.85), percent(plan.own))
                yield f"| {scenario.name} | {' | '.join(cells)} |"


def write_page(path: Path, studies: int = STUDIES, correlations: int = CORRELATIONS) -> None:
    path.write_text("\n".join(page(studies, correlations)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_page(ROOT / "docs" / "calibration.md")
    print("docs/calibration.md written")
