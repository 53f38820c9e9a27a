"""Numbers in sentences and tables: data, scores, effects and verdicts."""

import re
from collections.abc import Mapping, Sequence
from statistics import median

import numpy as np
import pandas as pd

from lib.claims.evidence import SCORES, Evidence, patients_of
from lib.claims.intervals import (
    FEWEST_SEEDS,
    LOOKS,
    MARGIN,
    MOST_PATIENTS,
    MOST_RUNS,
    POWER,
    Estimate,
    Interval,
    Needed,
    look_factor,
    rank_correlation,
)
from lib.claims.verdicts import CLAIMS, PRIMARY, DepthJudgement, Judgement, NotRun, contrasts, directional_verdict
from lib.data.dataset import SYNTHETIC, Dataset, Split, duplicates, shared_patients
from lib.evaluation import THRESHOLD
from lib.runs.plan import VARIANTS, comparator
from lib.runs.run import Run
from lib.runs.scores import constant_means
from lib.training import TrainingConfig

STUDYS_IMAGES = (85, 60)  # of training and test, as in the challenge that they come from
BEST, WORST = 31, 9  # of its test images, by the numbers in their names
SPLITS = {"train": "training", "test": "test", "testB": "second test"}


def number(value: float, form: str = "+.3f") -> str:
    """Returns a number with a true minus sign; what rounds to 0 has no sign."""
    text = f"{value:{form}}"
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def count(number: int, noun: str) -> str:
    """Returns a number and what it counts: "1 run", "2 runs"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def with_interval(estimate: Interval, n_runs: int = FEWEST_SEEDS) -> str:
    """Returns an effect and, where it is known, its interval: "+0.012 [−0.003, +0.027]"; "-" for an unknown effect.

    Without the interval where it is from fewer than FEWEST_SEEDS runs: it would mean little.
    """
    if np.isnan(estimate.effect):
        return "-"
    return f"{number(estimate.effect)} {_bounds(estimate) if n_runs >= FEWEST_SEEDS else ''}".rstrip()


def _bounds(estimate: Interval) -> str:
    low, high = estimate.ci_low, estimate.ci_high
    return "" if np.isnan(low) or np.isnan(high) else f"[{number(low)}, {number(high)}]"


def explain(dsc: Judgement | NotRun, dice: Judgement | NotRun) -> str:
    """Returns what verdicts and intervals of one claim in DSC and in Dice leave to say, in words from its numbers."""
    if isinstance(dsc, NotRun) or isinstance(dice, NotRun):
        return f"Testing it takes {next(one.missing for one in (dsc, dice) if isinstance(one, NotRun))}."
    if dsc.n_runs < FEWEST_SEEDS:  # an interval of so few would be wider than the scores' range, or mean little
        return ""
    both, who = (dsc, dice), "patients" if dsc.n_patients else "images"
    sentences = _would_decide(
        {SCORES[o.metric]: o.needed_seeds for o in both if o.verdict_seeds == "undecided"}, "runs"
    )
    if np.isnan(dsc.estimate.ci_low):
        return " ".join([*sentences, "There is no interval: too few runs or patients, or scores that do not differ."])
    if dsc.claim.id == "C5c":
        sentences.append(f"All intervals here are widened for {len(dsc.also)} comparisons, after Bonferroni.")
    told = [pair for one in both for pair in ((one.verdict, one.estimate), (one.verdict_seeds, one.over_seeds))]
    if not dsc.claim.bound and any(v == "supported" and found and abs(found.effect) < MARGIN for v, found in told):
        sentences.append(f"It is supported, though an effect below {MARGIN} hardly matters.")
    margin = dsc.estimate.smallest_margin if isinstance(dsc.estimate, Estimate) else np.nan
    if dsc.verdict == "undecided" and not dsc.claim.bound and np.isfinite(margin):
        sentences.append(f"For other {who}, the effect in DSC, up or down, is shown to be smaller than {margin:.3f}.")
    needed = {SCORES[one.metric]: one.needed for one in both if one.verdict == "undecided"}
    sentences += _would_decide(needed, "divisions" if dsc.n_divisions else "runs", who)
    if ruled_out := [_ruled_out(one) for one in both if _is_open(one)]:
        sentences.append(f"Ruled out for other {who}, at 95%: {'; '.join(ruled_out)}.")
    if dsc.claim.id == "C5b":
        return " ".join([*sentences, "Its verdict also takes the gap (claim C5a) and the test score (claim C5d)."])
    sentences += [
        f"{name[0].upper()}{name[1:]}: {with_interval(also)} in DSC and {with_interval(dice.also[name])} in Dice."
        for name, also in dsc.also.items()
    ]
    if isinstance(dsc, DepthJudgement) and isinstance(dice, DepthJudgement):
        sentences.append(
            f"Runs whose training score is at most {MARGIN} above that answer: in Dice, {dice.untrained} of "
            f"{dsc.n_runs} of the deeper network and {dice.untrained_shallower} of the shallower; in DSC, "
            f"{dsc.untrained} and {dsc.untrained_shallower}."
        )
        if dsc.first_gradients:
            deeper, shallower = (dsc.first_gradients[name] for name in ("deeper", "baseline"))
            trained = deeper < shallower and dsc.verdict_seeds == "contradicted"
            sentences.append(
                "Vanishing gradients, the study's presumed cause: in the first epoch, the gradient of the first layer "
                f"has a norm of {deeper:.2g} in the deeper network and of {shallower:.2g} in the shallower"
                f"{', and yet the deeper was trained' * trained}."
            )
    return " ".join(sentences)


def _is_open(one: Judgement) -> bool:
    """Returns whether an effect, of which something is known, is open in its direction."""
    known = np.isfinite([one.estimate.ci_low, one.estimate.ci_high]).all()
    return one.verdict == "undecided" and not one.claim.bound and bool(known)


def _ruled_out(one: Judgement) -> str:
    """Returns which effects an interval that decides nothing leaves out."""
    low, high = number(one.estimate.ci_low), number(one.estimate.ci_high)
    return f"effects above {high} and below {low} in {SCORES[one.metric]}"


def _would_decide(needed: Mapping[str, Needed | None], runs: str, who: str = "") -> list[str]:
    """Returns a sentence on the size of a study that would decide what is open, or none.

    Args:
        needed: by the score in which it is open. runs: what there may be more of.
        who: that there may be more of, too; empty where the question is about these images.
    """

    def size(needed: Needed) -> str:
        if needed.n_runs:
            return f"about {needed.n_runs} {runs}"
        if not who:
            return f"more than {MOST_RUNS} {runs}"
        if needed.n_patients:
            return f"about {needed.n_patients} {who} like these"
        return f"more than {MOST_PATIENTS} times as many {who}, or more {who} and {runs}"

    told = [
        f"in {score} {size(one)}, if {'there is no effect' if one.no_effect else 'the effect is as estimated'}"
        for score, one in needed.items()
        if one
    ]
    not_by_runs = who and not any(one and one.n_runs for one in needed.values())
    alone = f" Up to {MOST_RUNS} {runs} alone would not suffice." if not_by_runs else ""
    where = f"for other {who}" if who else "on these images"
    sized = f"To settle it {where} with a power of {POWER:.0%}, a new study needs {'; '.join(told)}.{alone}"
    return [sized] if told else []


def effects_table(evidence: Evidence, variant: str) -> pd.DataFrame:
    """Returns how a variant differs from the baseline after as many epochs, over patients and over seeds alone.

    Intervals are adjusted where the contrast is one of PRIMARY, and the table says so; so few runs as decide nothing
    have none.
    """
    rows = {}
    other = VARIANTS[comparator(variant, evidence.by_image.index.unique("variant"))].label.lower()
    difference = f"{VARIANTS[variant].label} minus {other}"
    for metric, score in SCORES.items():
        for quantity in ("test", "train", "gap"):
            measured = contrasts(evidence, metric)[variant, quantity]
            row: dict[str, str] = {}
            if measured.n_seeds < FEWEST_SEEDS:
                row[difference] = number(measured.over_patients.effect)
            else:
                row[f"{difference} [95% interval]"] = with_interval(measured.over_patients, measured.n_runs)
                row["adjusted"] = f"for {len(PRIMARY)}" if (variant, quantity) in PRIMARY else "-"
                row["over seeds alone"] = "-" if measured.over_seeds is None else with_interval(measured.over_seeds)
            if measured.n_seeds > 1:
                row["above 0"] = f"{sum(effect > 0 for effect in measured.by_run)} of {measured.n_seeds} pairs"
            rows[f"{score}, {quantity}"] = row
    table = pd.DataFrame(rows).T
    dsc, dice = (number(contrasts(evidence, metric)[variant, "test"].over_patients.effect) for metric in SCORES)
    table.attrs["caption"] = (
        f"{VARIANTS[variant].label} changes the mean test score by {dsc} in DSC and {dice} in Dice. Each row compares "
        "runs with the same seed; the gap is training minus test score, and where its change is negative it is smaller."
    )
    return table


WORDS = {"supported": "better", "contradicted": "worse", "not supported": "no different", "undecided": "open"}


def further_variants(evidence: Evidence) -> pd.DataFrame:
    """Returns for every variant that no claim is about whether its test score is better than its comparator's.

    Better, worse, no different (by less than the margin), or open: on these images with other seeds, and on other
    patients; the effect alone where so few runs decide nothing. Empty where there is no such variant.
    """
    known = {"longer", *(claim.variant for claim in CLAIMS)}
    rows: dict[str, dict[str, str]] = {}
    for metric, score in SCORES.items():
        for (variant, quantity), measured in contrasts(evidence, metric).items():
            if quantity != "test" or variant not in VARIANTS or variant in known:
                continue
            other = VARIANTS[comparator(variant, evidence.by_image.index.unique("variant"))].label.lower()
            row = rows.setdefault(VARIANTS[variant].label, {"compared with": other})
            questions = {
                "other seeds": (measured.over_seeds, measured.n_seeds),
                "other patients": (measured.over_patients, measured.n_runs),
            }
            for question, (estimate, n_runs) in questions.items():
                if estimate is not None:
                    word = WORDS[directional_verdict(estimate, n_runs)] if n_runs >= FEWEST_SEEDS else ""
                    row[f"test {score}: {question}"] = f"{word} {with_interval(estimate, n_runs)}".lstrip()
    table = pd.DataFrame(rows).T
    better = [label for label, row in rows.items() if row["test DSC: other seeds"].startswith("better")]
    few = len(evidence.by_image.index.unique("seed")) < FEWEST_SEEDS
    table.attrs["caption"] = (
        f"Fewer than {FEWEST_SEEDS} runs do not show whether a variant is better. Variants that no claim is about."
        if few
        else f"Better in test DSC on these images: {', '.join(better) or 'none'}. Variants that no claim is about; "
        "their intervals are exploratory, and not adjusted for their number."
    )
    return table


def independence(dataset: Dataset) -> str:
    """Returns whether training and test sets share patients, and what that means for test scores."""
    shared = shared_patients(dataset)
    if shared is None:
        return "The patients are unknown, so nothing here can tell whether training and test sets share any."
    warnings = [
        f"**Warning.** The {SPLITS[one]} and {SPLITS[other]} sets share {count(len(ids), 'patient')} "
        f"({', '.join(ids)}), so {SPLITS[other]} scores say little about new patients."
        for (one, other), ids in shared.items()
        if one == "train" and ids
    ]
    return "\n\n".join(warnings) or "No patient is in both the training set and a test set."


def repeated_images(dataset: Dataset) -> str:
    """Returns which images occur more than once."""
    groups = [", ".join(" ".join(image) for image in same) for same in duplicates(dataset)]
    occur = "image occurs" if len(groups) == 1 else "images occur"
    return (
        f"**Warning.** {len(groups)} {occur} more than once: {'; '.join(groups)}."
        if groups
        else "No image occurs twice."
    )


def network_input(rgb: Dataset, stain: str) -> str:
    """Returns what the networks see, and how many training images are grey.

    Args:
        rgb: the images in their colours. stain: "rgb" or "unmixed", what the networks of this run are given.
    """
    grey = len(rgb.train) - int(rgb.train.coloured.sum())
    seen = "the original RGB images" if stain == "rgb" else "unmixed stains instead of RGB"
    are = "is grey and has" if grey == 1 else "are grey and have"
    without = f" {grey} of the {len(rgb.train)} training images {are} no stains to unmix." if grey else ""
    return f"The networks of this run see {seen}.{without}"


def image_sizes(dataset: Dataset, most: int = 6) -> str:
    """Returns the images' original sizes, the first few of them, and the dataset's hash."""
    sizes = sorted({size for split in dataset.splits.values() for size in split.original_sizes or ()})
    listed = ", ".join(f"{width} × {height}" for height, width in sizes[:most])
    more = f" and {len(sizes) - most} more" if len(sizes) > most else ""
    original = f"Original sizes in pixels: {listed}{more}." if sizes else "The images were drawn at this size."
    return f"{original} SHA-256 of names, images and masks: `{dataset.sha256}`."


def constant_table(split: Split) -> pd.DataFrame:
    """Returns DSC and Dice of the two constant answers on a split, means over images: the floor for every score."""
    answers = {"all gland": "all foreground", "no gland": "no foreground"}
    means = pd.DataFrame(constant_means(split)).T.rename(index=answers, columns=SCORES)
    table = means.map("{:.2f}".format)
    table.attrs["caption"] = (
        f"The same answer for every pixel scores up to {means['DSC'].max():.2f} in DSC and {means['Dice'].max():.2f} "
        f"in Dice. Means over {len(split)} test images."
    )
    return table


def training_setup(config: TrainingConfig, seeds: int) -> str:
    """Returns how the networks are trained and scored, in a sentence or two."""
    runs = "one run (seed 0)" if seeds == 1 else f"{seeds} runs (seeds 0 to {seeds - 1})"
    return (
        f"Loss: binary cross-entropy. Optimizer: Adam, learning rate {config.learning_rate:g}, batches of "
        f"{config.batch_size} images, {count(config.epochs, 'epoch')}, {runs}. Scores are those after the last epoch; "
        f"a pixel counts as foreground where its probability exceeds {THRESHOLD}."
    )


def image_range(by_image: pd.DataFrame) -> str:
    """Returns how widely the baseline's scores differ between test images, and whether the two scores agree.

    Args:
        by_image: `lib.runs.scores.image_scores`, the baseline among them.
    """
    image = by_image.loc["baseline"].xs("test", level="split").groupby("image", sort=False)[list(SCORES)].mean()
    (low, high), (low_dice, high_dice) = ((image[metric].min(), image[metric].max()) for metric in SCORES)
    rho = rank_correlation(image["dsc"].to_numpy(), image["dice"].to_numpy())
    agree = "is undefined, since one does not vary" if np.isnan(rho) else f"is {number(rho, '.2f')}"
    best, worst = (
        f"the {which} image by DSC is {'also' if chosen['dsc'] == chosen['dice'] else 'not'} the {which} by Dice"
        for which, chosen in (("best", image.idxmax()), ("worst", image.idxmin()))
    )
    empty = " **The network predicts almost no foreground here**: train it longer (`EPOCHS=`)."
    return (
        f"Over the {len(image)} test images, DSC ranges from {low:.3f} to {high:.3f} and Dice from {low_dice:.3f} to "
        f"{high_dice:.3f}; their rank correlation {agree}. Here {best}, and {worst}."
        f"{empty if high_dice < MARGIN else ''}"
    )


def studys_extremes(by_image: pd.DataFrame, dataset: Dataset) -> str:
    """Returns where the study's best and worst test image rank here, if the images can be the study's; "" otherwise.

    Args:
        by_image: `lib.runs.scores.image_scores`, the baseline among them. dataset: that was scored.
    """
    dsc = by_image.loc["baseline"].xs("test", level="split").groupby("image", sort=False)["dsc"].mean()
    numbered = {int(found[-1]): name for name in dsc.index if (found := re.findall(r"\d+", name))}
    of_study = (len(dataset.train), len(dsc)) == STUDYS_IMAGES and dataset.name != SYNTHETIC
    if not of_study or not {BEST, WORST} <= numbered.keys():
        return ""
    ranks = dsc.rank(ascending=False, method="min").astype(int)
    best, worst = (ranks[numbered[number]] for number in (BEST, WORST))
    return (
        f"If images {BEST} and {WORST} of these are the study's, its best ranks {best} of {len(dsc)} here, and its "
        f"worst {worst}."
    )


def noise_level(noise_std: float) -> str:
    """Returns the noise's standard deviation on both scales of intensity."""
    levels = f"{noise_std * 255:.1f} of 255 grey levels"
    return f"The noise has a standard deviation of {noise_std:g} on intensities from 0 to 1, which is {levels}."


def longer_training(epochs: int, baseline_epochs: int) -> str:
    """Returns how many epochs dropout trains for, which the study does not say."""
    factor = epochs / baseline_epochs
    times = "twice" if factor == 2 else f"{factor:g} times"
    return f"The study does not say how many epochs; we use {epochs}, {times} the baseline's {baseline_epochs}."


def epoch_cost(dropout: Sequence[Run], baseline: Sequence[Run]) -> str:
    """Returns how much longer an epoch of training takes with dropout, by the median over the epochs of all runs."""
    of_dropout, of_baseline = (median(s for run in runs for s in run.seconds) for runs in (dropout, baseline))
    return (
        f"An epoch of dropout takes {of_dropout / of_baseline:.2g} times as long as one of the baseline, by the "
        f"medians ({of_dropout:.2g} and {of_baseline:.2g} s); both include whatever else the machine was doing."
    )


def share_of_epochs(evidence: Evidence) -> str:
    """Returns how much of the gain in test score that the study saw with dropout is longer training."""
    effects = [contrasts(evidence, metric)["longer", "test"] for metric in SCORES]
    dsc, dice = (with_interval(effect.over_seeds or effect.over_patients, effect.n_seeds) for effect in effects)
    over = ", in intervals over other seeds on these images" * (effects[0].n_seeds >= FEWEST_SEEDS)
    return f"Training the baseline as long as dropout changes its test score by {dsc} in DSC and {dice} in Dice{over}."


def penalty_share(penalty: float, cross_entropy: float) -> str:
    """Returns how large the L2 penalty is beside the cross-entropy on the training images, both in nats per pixel."""
    percent = 100 * penalty / cross_entropy if cross_entropy > 0 else np.nan
    share = "" if np.isnan(percent) else f", {'under 1' if percent < 1 else f'{percent:.0f}'}% of it"
    return (
        f"After training, the cross-entropy on the training images is {cross_entropy:.3f} and the penalty "
        f"{penalty:.4f}{share}."
    )


def about_intervals(evidence: Evidence) -> str:
    """Returns what to know of the intervals over patients: that these are unknown, or that divisions were added."""
    sentences = []
    if evidence.patients is None:
        sentences.append(
            "The patients are unknown: each image counts as a patient of its own, so the intervals for other images "
            "are too narrow."
        )
    if evidence.until_decided and evidence.in_folds is not None:
        divisions = evidence.in_folds.index.unique("seed").size
        sentences.append(
            f"Divisions were added while they could decide an open verdict, {divisions} in all. Intervals over them "
            f"are widened by {look_factor(divisions) - 1:.0%}, so that looking after {', '.join(map(str, LOOKS))} "
            "divisions makes no more verdicts false."
        )
    return " ".join(sentences)


def patients_in_folds(dataset: Dataset) -> str:
    """Returns whether folds hold out new patients or new images."""
    if patients_of(dataset) is None:
        return "**The patients are unknown**: each image counts as a patient of its own, and folds hold out new images."
    return "Patients are known, so each fold holds out new patients."


def depth_table(by_image: pd.DataFrame, dataset: Dataset) -> pd.DataFrame:
    """Returns mean scores of the deeper and the shallower network beside those of the best constant answer."""
    means = by_image.loc[["deeper", "baseline"]].groupby(["variant", "split"], sort=False)[list(SCORES)].mean()
    table = means.rename(index={"baseline": "shallower"}).unstack("split")
    for split, of_split in dataset.splits.items():
        for metric in SCORES:
            best = max(answer[metric] for answer in constant_means(of_split).values())
            table.loc["best constant answer", (metric, split)] = best
    table.columns = [f"{SCORES[metric]}, {SPLITS[split]}" for metric, split in table.columns]
    first, second = (f"{table.loc[name, 'DSC, training']:.3f}" for name in ("deeper", "shallower"))
    table = table.map("{:.3f}".format)
    table.attrs["caption"] = (
        f"Training DSC is {first} for the deeper network and {second} for the shallower. Means over runs and images."
    )
    return table
