"""Figures and tables of section 4: the study's network beside one of today."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import cycle
from statistics import median

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Int

from lib.claims.evidence import added_by_step, held_out_dice
from lib.claims.words import SPLITS, with_interval
from lib.data.dataset import Dataset, Split
from lib.evaluation import THRESHOLD, predict
from lib.figures.images import draw_outlined, draw_overlay
from lib.figures.style import COLOURS, OVERLAY, STYLE, ReportFigure, count_of_runs
from lib.recipe import Recipe
from lib.runs.run import Run
from lib.runs.scores import constant_means, image_scores
from lib.shapes import object_scores, surface_dice
from lib.training import TrainingConfig

BINS = 10  # of predicted probability, of equal width
HAUSDORFF = "object Hausdorff"  # the only one of the scores in pixels

Probabilities = dict[str, dict[str, np.ndarray]]  # of foreground, by split and network: float32 (image, height, width)


def settings_table(studys: TrainingConfig, todays: TrainingConfig) -> pd.DataFrame:
    """Returns the settings in which two configurations differ, by name; one without a setting has a Recipe's default.

    Left out is what makes training faster and is chosen by the machine: threads, snapshots and precision.
    """
    first, second = (asdict(Recipe()) | asdict(config) for config in (studys, todays))
    left_out = ("threads", "snapshot_every", "precision")
    names = [name for name in second if first[name] != second[name] and name not in left_out]
    columns = {"the study's": first, "U-Net": second}
    rows = {name: {of: str(value[name]).replace("()", "none") for of, value in columns.items()} for name in names}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("setting")
    table.attrs["caption"] = f"The two networks differ in {len(rows)} settings. All others are the same."
    return table


def score_table(runs: Mapping[str, Sequence[Run]], labels: Mapping[str, str], dataset: Dataset) -> pd.DataFrame:
    """Returns DSC and Dice of every network, as means over runs and images, and of the better constant answer."""
    means = image_scores(runs, dataset).groupby(["variant", "split"], sort=False).mean()
    rows = {}
    for split, images in dataset.splits.items():
        floor = constant_means(images).values()
        for metric, name in (("dsc", "DSC"), ("dice", "Dice")):
            column = {labels[variant]: float(means.loc[(variant, split), metric]) for variant in runs}
            rows[f"{name}, {SPLITS[split]}"] = {
                "best constant answer": max(answer[metric] for answer in floor)
            } | column
    scores = pd.DataFrame(rows)
    best = scores["Dice, test"].idxmax()
    table = scores.map("{:.3f}".format)
    table.attrs["caption"] = (
        f"Highest test Dice: {table.loc[best, 'Dice, test']} ({best}). Means over runs and images; of the two constant "
        "answers the better one by each score."
    )
    return table


def first_probabilities(runs: Mapping[str, Sequence[Run]], dataset: Dataset) -> Probabilities:
    """Returns what each network's first run predicts of each split but the training images. All runs take minutes."""
    return {
        which: {
            network: predict(first.network(), torch.from_numpy(split.images)).numpy()
            for network, (first, *_) in runs.items()
        }
        for which, split in dataset.splits.items()
        if which != "train"
    }


def shape_table(probabilities: Probabilities, labels: Mapping[str, str], dataset: Dataset) -> pd.DataFrame:
    """Returns scores by border and object of `first_probabilities`, and of the answer that all is foreground.

    They are means over the images of a split. Distances are in pixels of the images before they were resized.
    """
    tables = []
    for which, of_split in probabilities.items():
        split = dataset.splits[which]
        answers = {"all foreground": np.ones_like(split.masks)}
        answers |= {labels[network]: p > THRESHOLD for network, p in of_split.items()}
        scores = pd.DataFrame({label: _shape_means(masks, split) for label, masks in answers.items()}).T
        tables.append(scores.add_suffix("" if len(probabilities) == 1 else f", {SPLITS[which]}"))
    table = pd.concat(tables, axis=1)
    best = table.iloc[1:, 1].idxmax()
    caption = f"Highest object F1 of a network: {table.loc[best].iloc[1]:.3f} ({best}). Means over the test images."
    table = table.apply(lambda of: of.map(("{:.1f}" if HAUSDORFF in of.name else "{:.3f}").format))
    table.attrs["caption"] = caption
    return table


def _shape_means(masks_pred: Bool[np.ndarray, "image height width"], split: Split) -> pd.Series:
    """Returns the means over a split's images of the scores of `lib.shapes`, by their names in a table."""
    shape = split.masks.shape[1:]
    scores = [
        {"surface": surface_dice(pred, true), **object_scores(pred, true, (size[0] / shape[0], size[1] / shape[1]))}
        for pred, true, size in zip(
            masks_pred, split.masks, split.original_sizes or [shape] * len(masks_pred), strict=True
        )
    ]
    names = {"surface": "surface Dice", "f1": "object F1", "dice": "object Dice", "hausdorff": HAUSDORFF}
    return pd.DataFrame(scores).mean().rename(names)


def group_table(runs: Sequence[Run], dataset: Dataset) -> pd.DataFrame | None:
    """Returns the U-Net's Dice on the test images by grade and by patient, lowest first; None if neither is known."""
    dice = image_scores({"possible": runs}, dataset).xs("test", level="split")["dice"].groupby("image").mean()
    tables = []
    for kind, groups in {"grade": dataset.test.grades, "patient": dataset.test.patients}.items():
        if groups:
            of_image = pd.Series(groups, index=list(dataset.test.names))
            table = dice.groupby(of_image).agg(images="size", Dice="mean", lowest="min").sort_values("Dice")
            tables.append(table.rename(index=f"{kind} {{}}".format))
    if not tables:
        return None
    table = pd.concat(tables)
    table = table.assign(**{name: table[name].map("{:.3f}".format) for name in ("Dice", "lowest")})
    lowest = " and ".join(f"{of['Dice'].iloc[0]:.3f} ({of.index[0]})" for of in tables)
    table.attrs["caption"] = f'Lowest mean Dice of the U-Net: {lowest}. On the test images; "lowest" is a single image.'
    return table


@mpl.rc_context(STYLE)
def figure_beside(
    number: int, studys: Sequence[Run], todays: Sequence[Run], dataset: Dataset, shown: str = "test"
) -> ReportFigure:
    """Composes the images with the U-Net's highest and lowest Dice, as its first run and the study's segment them.

    Args:
        number: of the figure.
        studys, todays: runs of the baseline and of the U-Net, whose mean Dice chooses.
        dataset: they were scored on. shown: which of its splits.
    """
    split = dataset.splits[shown]
    by_image = image_scores({"study": studys, "U-Net": todays}, dataset).xs(shown, level="split")["dice"]
    means = by_image.loc["U-Net"].groupby("image", sort=False).mean()
    best, worst = str(means.idxmax()), str(means.idxmin())
    names = {"best": best, "worst": worst} if best != worst else {"best and worst": best}
    rows = [
        {
            "which": which,
            "name": name,
            "study": by_image.loc[("study", studys[0].config.seed, name)],
            "U-Net": by_image.loc[("U-Net", todays[0].config.seed, name)],
        }
        for which, name in names.items()
    ]
    told = ", and ".join(
        f"where it is {row['which']} ({row['name']}), {row['U-Net']:.3f} against {row['study']:.3f}" for row in rows
    )
    caption = (
        f"Dice of the U-Net against the study's network: {told}. Chosen from the "
        f"{shown} images by its mean Dice over {count_of_runs(len(todays))}; drawn is the first run of each."
    )
    alt = f"Images, each with truth and the overlays of two networks. Dice of the U-Net against the study's: {told}."
    figure = ReportFigure(number, caption, alt, pd.DataFrame(rows), figsize=(7.6, 2.2 * len(rows)))
    for axes, row in zip(figure.subplots(len(rows), 4, squeeze=False), rows, strict=True):
        image, mask = split.pair(row["name"])
        axes[0].imshow(image)
        axes[1].imshow(mask, cmap="gray", vmin=0, vmax=1)
        for ax, run in zip(axes[2:], (studys[0], todays[0]), strict=True):
            draw_overlay(ax, image, mask, run.probabilities(split, row["name"]) > THRESHOLD)
        titles = ("Input", "Truth", f"Study's, Dice {row['study']:.2f}", f"U-Net, Dice {row['U-Net']:.2f}")
        for ax, title in zip(axes, titles, strict=True):
            ax.set_title(title)
            ax.set_axis_off()
    patches = [mpl.patches.Patch(color=colour, label=kind) for kind, colour in OVERLAY.items()]
    figure.legend(handles=patches, loc="outside lower right", ncols=3)
    return figure


@mpl.rc_context(STYLE)
def figure_cost(
    number: int, runs: Mapping[str, Sequence[Run]], labels: Mapping[str, str], dataset: Dataset
) -> ReportFigure:
    """Composes the test Dice of every run against the seconds that its training took."""
    means = image_scores(runs, dataset).xs("test", level="split")["dice"].groupby(["variant", "seed"]).mean()
    data = pd.DataFrame(
        [
            {"network": labels[variant], "seed": run.config.seed, "threads": run.config.threads,
             "seconds": sum(run.seconds), "dice": means.loc[(variant, run.config.seed)]}
            for variant, of_variant in runs.items()
            for run in of_variant
        ]
    )  # fmt: skip
    best = max(data["network"].unique(), key=lambda name: data.loc[data["network"] == name, "dice"].mean())
    of_best = data[data["network"] == best]
    seconds = float(f"{median(of_best['seconds']):.2g}")
    told = f"{best} has the highest mean test Dice, {of_best['dice'].mean():.3f}, in {seconds:g} s"
    caption = f"{told}. Each point is a run; seconds are those of training alone, with the threads that the data tell."
    figure = ReportFigure(number, caption, f"Test Dice against seconds of training. {told}.", data, figsize=(7.6, 2.8))
    ax = figure.subplots()
    for marker, (network, of_network) in zip(cycle("osD^vPX"), data.groupby("network", sort=False), strict=False):
        ax.scatter(of_network["seconds"], of_network["dice"], s=18, marker=marker, label=network)  # without colour, too
    ax.axhline(max(a["dice"] for a in constant_means(dataset.test).values()), color="black", ls=":", label="constant")
    ax.set(xscale="log", xlabel="seconds of training", ylabel="Dice, test")
    for formatter in (ax.xaxis.set_major_formatter, ax.xaxis.set_minor_formatter):
        formatter(mpl.ticker.LogFormatter(minor_thresholds=(2, 0.5)))  # 20, and not 2 x 10^1
    figure.legend(loc="outside right upper")
    return figure


def reliability(
    probabilities: Mapping[str, np.ndarray], masks_true: Bool[np.ndarray, "image height width"]
) -> pd.DataFrame:
    """Returns by network and bin of predicted probability: its mean, the share of foreground, and of all pixels."""
    tables = {}
    for name, predicted in probabilities.items():
        p = predicted.ravel()
        chosen = np.minimum((p * BINS).astype(int), BINS - 1)
        pixels = pd.DataFrame({"predicted": p, "foreground": masks_true.ravel(), "bin": chosen})
        table = pixels.groupby("bin").agg(
            predicted=("predicted", "mean"), foreground=("foreground", "mean"), share=("predicted", "size")
        )
        tables[name] = table.assign(share=table["share"] / len(p))
    return pd.concat(tables, names=["network"]).reset_index()


@mpl.rc_context(STYLE)
def figure_reliability(
    number: int, probabilities: Mapping[str, np.ndarray], masks_true: Bool[np.ndarray, "image height width"]
) -> ReportFigure:
    """Composes how often pixels of the test images are foreground, by the probability that a network gave them.

    Args:
        number: of the figure. probabilities: by network, as in `first_probabilities`. masks_true: of the test images.
    """
    data = reliability(probabilities, masks_true)
    error = {
        name: float(((t["predicted"] - t["foreground"]).abs() * t["share"]).sum())
        for name, t in data.groupby("network", sort=False)
    }
    told = " and ".join(f"{value:.3f} ({name})" for name, value in error.items())
    caption = (
        f"Predicted probabilities are off by {told} on average. Distance from the share of foreground, over {BINS} "
        "bins of test pixels, weighted by their number. How to read it: on the diagonal a probability can be taken at "
        "its word."
    )
    figure = ReportFigure(number, caption, f"Reliability curves; mean distance: {told}.", data, figsize=(7.6, 3.4))
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], color="black", ls=":")
    for (name, table), colour in zip(data.groupby("network", sort=False), reversed(COLOURS.values()), strict=False):
        ax.plot(table["predicted"], table["foreground"], marker="o", ms=4, color=colour, label=name)
    ax.set(xlabel="predicted probability", ylabel="share of foreground", xlim=(0, 1), ylim=(0, 1))
    ax.legend()
    return figure


def agreement(votes: Int[np.ndarray, "height width"], n_runs: int) -> float:
    """Returns how often two of some runs call a pixel the same, in [0, 1]: the mean over pixels and pairs of runs.

    Args:
        votes: how many of the runs call each pixel foreground. n_runs: two or more.
    """
    against = n_runs - votes
    return float((votes * (votes - 1) + against * (against - 1)).mean() / (n_runs * (n_runs - 1)))


@mpl.rc_context(STYLE)
def figure_agreement(number: int, runs: Mapping[str, Sequence[Run]], dataset: Dataset, count: int = 3) -> ReportFigure:
    """Composes the test images with each network's lowest mean Dice, and how many of its runs call a pixel foreground.

    Args:
        number: of the figure.
        runs: of each network; those of a single run are left out. count: of images.
    """
    several = {network: of_network for network, of_network in runs.items() if len(of_network) > 1}
    count = min(count, len(dataset.test))
    dice = image_scores(several, dataset).xs("test", level="split")["dice"].groupby(["variant", "image"]).mean()
    rows = []
    for network, of_network in several.items():
        for name, mean in dice.loc[network].nsmallest(count).items():
            votes = np.sum([run.probabilities(dataset.test, name) > THRESHOLD for run in of_network], axis=0)
            agree = agreement(votes, len(of_network))
            rows.append((network, name, mean, agree, votes / len(of_network)))
    data = pd.DataFrame([row[:4] for row in rows], columns=["network", "image", "dice", "agreement"])
    told = "; ".join(
        f"two of the {len(several[network])} runs of the {network} network agree on "
        f"{' to '.join(dict.fromkeys(f'{share:.0%}' for share in (of.min(), of.max())))} of the pixels"
        for network, of in data.groupby("network", sort=False)["agreement"]
    )
    caption = (
        f"On the test images with the lowest mean Dice, {told}. Each image with the outline of its truth, beside the "
        "share of runs that call a pixel foreground, from none (dark) to all (bright)."
    )
    alt = f"The worst test images and the share of runs that call a pixel foreground: {told}."
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 1.5 * len(several)))
    grid = figure.subplots(len(several), 2 * count, squeeze=False)
    for ax in grid.flat:
        ax.set_axis_off()
    for index, (network, name, mean, agree, share) in enumerate(rows):
        row, column = divmod(index, count)
        image, mask = dataset.test.pair(name)
        left, right = grid[row][2 * column : 2 * column + 2]
        draw_outlined(left, image, mask)
        left.set_title(f"{network}, Dice {mean:.2f}", fontsize=7)
        right.imshow(share, cmap="viridis", vmin=0, vmax=1)
        right.set_title(f"agree {agree:.0%}", fontsize=7)
    return figure


@mpl.rc_context(STYLE)
def figure_ladder(
    number: int, runs: Mapping[str, Sequence[Run]], labels: Mapping[str, str], dataset: Dataset
) -> ReportFigure:
    """Composes the mean Dice of each step in every fold of the training images, and what it adds to the step before.

    Args:
        number: of the figure. runs: of each step, one in each fold. labels: of the steps. dataset: of the folds.
    """
    held_out = held_out_dice(runs, dataset)
    folds = [run.fold for run in next(iter(runs.values())) if run.fold]
    index = {folds[0].names(dataset)[at]: fold.index for fold in folds for at in fold.divide(dataset)["test"]}
    table = held_out.groupby(index).mean()
    added = added_by_step(held_out, dataset)
    told = "; ".join(f"{labels[name]} {with_interval(one)}" for name, one in added.items())
    known = folds[0].patients(dataset) is not None
    whom = "patients" if known else "images"
    unknown = "" if known else " Patients are not known, and each image counts as one: the intervals are too narrow."
    caption = (
        f"From {held_out.iloc[:, 0].mean():.3f} to {held_out.iloc[:, -1].mean():.3f} mean Dice on {whom} that were "
        f"held out. Added by each step: {told}. Lines are the {len(table)} folds of the training images. The 95% "
        f"intervals are over {whom}, exploratory, and not adjusted for their number; each step was trained once a "
        f"fold, and another training would differ.{unknown}"
    )
    data = table.rename(columns=labels).rename_axis(index="fold").reset_index()
    figure = ReportFigure(number, caption, f"Dice by step. Added by each: {told}.", data, figsize=(7.6, 3.2))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for _, fold in table.iterrows():
        left.plot(fold, range(len(runs)), color=COLOURS["test"], alpha=0.3, lw=1)
    left.plot(held_out.mean(), range(len(runs)), color=COLOURS["test"], marker="o")
    left.set_yticks(range(len(runs)), [labels[name] for name in runs])
    left.set(xlabel=f"Dice on held-out {whom}")
    right.axvline(0, color="black", ls=":")
    for height, one in enumerate(added.values(), start=1):
        right.plot((one.ci_low, one.ci_high), (height, height), color=COLOURS["test"], lw=2)  # nothing where unknown
        right.plot(one.effect, height, "o", color=COLOURS["test"])
    low, high = right.get_xlim()
    right.set(xlabel="added by this step", xlim=(max(low, -1), min(high, 1)))  # few patients: wider than Dice is
    return figure
