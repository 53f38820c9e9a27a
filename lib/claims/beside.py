"""What each variant changes beside its score: loss, border, share of foreground, another threshold, grades.

A mean of one score can rise by what no one wants: Dice rises where more is called foreground, too. All intervals here
are over seeds, these images fixed, and exploratory: they are not adjusted for their number.
"""

import pandas as pd

from lib.claims.intervals import FEWEST_SEEDS, Estimate
from lib.claims.words import number, with_interval
from lib.data.dataset import Split
from lib.runs.plan import VARIANTS, comparator
from lib.shapes import TOLERANCE

LOSS, FOREGROUND, DICE, CHOSEN = "cross-entropy", "foreground", "Dice", "Dice, chosen threshold"
MEASURES = {
    "dsc": "DSC",
    "dice": DICE,
    "dice_chosen": CHOSEN,
    "surface": f"surface Dice at {TOLERANCE:g} pixels",
    "loss": LOSS,
    "foreground": FOREGROUND,
}


def measures_by_run(by_image: pd.DataFrame, further: pd.DataFrame, test: Split) -> pd.DataFrame:
    """Returns the mean over test images of each measure, in every run.

    Args:
        by_image, further: `lib.runs.scores.image_scores` and `further_scores`. test: the split.

    Returns:
        Indexed by variant and seed; a column for each of MEASURES, and for Dice in each grade, with its number of
        images, where grades are known.
    """
    scores = further.join(by_image)
    columns = {label: scores[measure] for measure, label in MEASURES.items()}
    if test.grades:
        grade_of = scores.index.get_level_values("image").map(dict(zip(test.names, test.grades, strict=True)))
        for grade in sorted(set(test.grades)):
            columns[f"Dice, {grade} ({test.grades.count(grade)})"] = scores["dice"][grade_of == grade]
    return pd.DataFrame({label: of.groupby(["variant", "seed"], sort=False).mean() for label, of in columns.items()})


def changes(by_run: pd.DataFrame) -> dict[str, dict[str, Estimate]]:
    """Returns by variant and measure the difference from what the variant is compared with, over seeds."""
    variants = by_run.index.unique("variant")
    found: dict[str, dict[str, Estimate]] = {}
    for variant in (name for name in variants if name != "baseline"):
        differences = by_run.loc[variant] - by_run.loc[comparator(variant, variants)]
        found[variant] = {
            measure: Estimate.unadjusted(float(of.mean()), float(of.sem()), len(of) - 1)
            for measure, of in differences.items()
        }
    return found


def beside_table(by_run: pd.DataFrame, test: Split) -> pd.DataFrame:
    """Returns each measure's mean in each variant, and the difference from what that is compared with.

    The longer baseline has no column of its own: so few fit on a page. Fewer than FEWEST_SEEDS runs have no intervals.
    The caption tells which variants are better in one measure and worse in another, or whose change in Dice is a
    threshold's: a change is one whose interval leaves out 0, and it is a threshold's if less than half of it is left at
    the one that is chosen on training images.
    """
    variants, fewest, sentences = by_run.index.unique("variant"), int(by_run.groupby("variant").size().min()), []
    columns = {}
    for variant, measured in changes(by_run).items():
        label = VARIANTS[variant].label
        if variant != "longer":
            columns[f"{label}, minus {VARIANTS[comparator(variant, variants)].label.lower()}"] = {
                name: f"{by_run[name][variant].mean():.3f}: {with_interval(of, fewest)}"
                for name, of in measured.items()
            }
        shown = {name: of for name, of in measured.items() if of.ci_low > 0 or of.ci_high < 0}
        gains = {name: of.effect * (-1 if name == LOSS else 1) for name, of in shown.items() if name != FOREGROUND}
        better, worse = (
            ", ".join(f"{name} ({number(shown[name].effect)})" for name, gain in gains.items() if sign * gain > 0)
            for sign in (1, -1)
        )
        said = [f"{label} is better in {better}, and worse in {worse}."] if better and worse else []
        here, there = (measured[name].effect for name in (DICE, CHOSEN))
        if DICE in shown and there / here < 0.5:
            said.append(f"{label} changes Dice by {number(here)}, at the chosen threshold by {number(there)}.")
        if said:
            share, truth = by_run[FOREGROUND][variant].mean(), test.foreground_fraction
            said.append(f"{label} calls {share:.2f} of the pixels foreground, where {truth:.2f} are.")
        sentences += said
    table = pd.DataFrame(columns).rename(index={FOREGROUND: f"{FOREGROUND} (truth {test.foreground_fraction:.3f})"})
    nothing = "No variant is shown to pay for one measure with another on these images."
    few = f"Fewer than {FEWEST_SEEDS} runs do not show whether a variant pays for one measure with another."
    found = few if fewest < FEWEST_SEEDS else " ".join(sentences) or nothing
    table.attrs["caption"] = f"{found} Each cell: the mean over runs and test images, then the difference."
    return table
