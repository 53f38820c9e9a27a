"""Effects, scores and searches: data in, `Figure` out."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.claims.intervals import MARGIN
from lib.figures.style import BACKDROP, COLOURS, METRIC_NAMES, STYLE, ReportFigure, count_of_runs


def _effects_by_run(claim: Mapping[str, Any]) -> Float64[np.ndarray, " run"]:
    """Returns the effect in each run; nan where it is unknown, such as the rank correlation of an empty prediction."""
    return np.array(claim["by_run"], dtype=np.float64)


def draw_interval(ax: Axes, low: float | None, high: float | None, y: float, **line: Any) -> None:
    """Adds an interval as a horizontal line, or nothing where a bound is unknown."""
    if low is not None and high is not None:
        ax.plot((low, high), (y, y), **line)


def draw_runs(ax: Axes, effects: Float64[np.ndarray, " run"], y: float) -> None:
    """Adds the effect in each run as a tick; unknown ones (nan) are left out."""
    ax.plot(effects, np.full(len(effects), y), "|", color=BACKDROP, markersize=4)


@mpl.rc_context(STYLE)
def figure_effects(number: int | None, claims: Sequence[Mapping[str, Any]], dataset: str) -> ReportFigure:
    """Composes every measured effect with its interval, and the interval of training noise alone behind it.

    Args:
        number: of the figure; None for the small one that opens the page, under a table that tells what the claims are.
        claims: as `lib.claims.verdicts.judge` gives them; what was not run, or by one run alone, is left out.
            Correlations have an axis of their own.
        dataset: its name, for the caption.
    """
    known = [claim for claim in claims if claim.get("effect") is not None]
    differences = [claim for claim in known if claim.get("seed_low") is not None or claim.get("se") is not None]
    correlations = [claim for claim in known if "se" not in claim]
    shown = sorted([*differences, *correlations], key=claims.index)
    ids = list(dict.fromkeys(claim["id"] for claim in shown))
    counts = [claim["n_seeds"] for claim in shown if not claim.get("n_folds")]
    runs = count_of_runs(counts[0]) if counts else "no runs"
    far = any((abs(_effects_by_run(claim)) > 0.1).any() for claim in differences)
    folds = {claim["n_folds"] for claim in shown if claim.get("n_folds")}
    in_folds = f", or over {max(folds)} folds for validation scores" if folds else ""
    caption = (
        f"Effects on {dataset} over {runs} of each network{in_folds}. Dots are means, ticks below them the single "
        "runs or folds; strong lines are 95% intervals over seeds and patients, adjusted for six contrasts, or for "
        "C5c's four, where a claim is among them; pale lines are 95% intervals over seeds alone, with these images "
        f"fixed. Grey: effects smaller than {MARGIN}.{' Beyond 0.05 the axes are logarithmic.' if far else ''}"
    )
    if correlations:
        caption += (
            " On the right, rank correlations with DSC (filled) and Dice (hollow), their intervals over patients."
        )
    alt = "Effects with intervals. " + "; ".join(
        f"{c['id']} in {METRIC_NAMES[c['metric']]} {c['effect']:+.3f}, {c['verdict']}" for c in shown
    )
    if not shown:
        alt = "Two empty plots, of DSC and Dice: so few runs give no effect an interval"
    columns = ["id", "metric", "measure", "n_seeds", "effect", "ci_low", "ci_high", "seed_low", "seed_high", "verdict"]
    data = pd.DataFrame(shown, columns=pd.Index(columns))
    data["runs"] = [" ".join(f"{effect:.6g}" for effect in _effects_by_run(claim)) for claim in shown]
    figure = ReportFigure(number, caption, alt + ".", data, figsize=(7.6, 1.0 + (0.42 if number else 0.2) * len(ids)))
    panels = figure.subplots(1, 3 if correlations else 2, sharey=True, width_ratios=(3, 3, 2)[: 2 + bool(correlations)])
    for ax, metric in zip(panels[:2], METRIC_NAMES, strict=True):
        ax.axvspan(-MARGIN, MARGIN, color="#e6e6e6", linewidth=0)
        ax.axvline(0, color="black", linewidth=0.8)
        for claim in (c for c in differences if c["metric"] == metric):
            row, colour = ids.index(claim["id"]), COLOURS["train"]
            draw_interval(ax, claim.get("seed_low"), claim.get("seed_high"), row, color=colour, linewidth=7, alpha=0.25)
            draw_runs(ax, _effects_by_run(claim), row + 0.28)
            draw_interval(ax, claim["ci_low"], claim["ci_high"], row, color=colour, linewidth=1.8)
            ax.plot(claim["effect"], row, "o", color=colour, markersize=6)
        if far:
            ax.set_xscale("symlog", linthresh=0.05, linscale=1)
            ax.set_xticks([-0.2, -0.05, 0, 0.05, 0.2], ["-0.2", "-0.05", "0", "0.05", "0.2"], fontsize=7)
        ax.set(xlabel=f"difference in {METRIC_NAMES[metric]}")
        ax.grid(axis="y", visible=False)
    for claim in correlations:
        ax, colour, is_first = panels[-1], COLOURS["train"], claim["metric"] == "dsc"
        y = ids.index(claim["id"]) + (-0.22 if is_first else 0.22)
        draw_runs(ax, _effects_by_run(claim), y + 0.18)
        draw_interval(ax, claim["ci_low"], claim["ci_high"], y, color=colour, linewidth=1.8)
        ax.plot(claim["effect"], y, "o", color=colour, markersize=5, markerfacecolor=colour if is_first else "white")
    if correlations:
        panels[-1].axvline(0, color="black", linewidth=0.8)
        panels[-1].set(xlabel="rank correlation", xlim=(-1, 1))
        panels[-1].grid(axis="y", visible=False)
    labels = {claim["id"]: fill(f"{claim['id']}: {claim['measure']}", 36) if number else claim["id"] for claim in shown}
    panels[0].set_yticks(range(len(ids)), [labels[name] for name in ids])
    if number:  # lines of a label start at one place, whatever font a browser has
        panels[0].tick_params(axis="y", pad=158)
        for text in panels[0].get_yticklabels():
            text.set(horizontalalignment="left")
    panels[0].invert_yaxis()
    return figure


def draw_scores(
    figure: Figure, kinds: Mapping[str, pd.DataFrame], labels: Mapping[str, str], panels: Mapping[str, str]
) -> None:
    """Adds a panel for each score, in it every run of a variant a dot, their mean a bar; the second kind below, filled.

    Args:
        kinds: two tables of scores, indexed by variant first. labels: of the variants, from top to bottom.
        panels: the labels of the scores.
    """
    axes = figure.subplots(1, len(panels), sharey=True)
    for ax, (metric, title) in zip(axes, panels.items(), strict=True):
        for row, variant in enumerate(labels):
            for number, ((kind, table), colour) in enumerate(zip(kinds.items(), COLOURS.values(), strict=True)):
                values, y = table.loc[variant][metric], row - 0.15 + 0.3 * number
                dots = {"color": colour, "markersize": 4, "markerfacecolor": colour if number else "none"}
                ax.plot(values, np.full(len(values), y), "o", **dots)  # told apart without colour, too
                label = None if row else kind
                ax.plot(values.mean(), y, "|", color=colour, markersize=11, markeredgewidth=2, label=label)
        ax.set_yticks(range(len(labels)), list(labels.values()))
        ax.set(xlabel=title)
        ax.grid(axis="y", visible=False)
    axes[0].set_ylim(len(labels) - 0.5, -0.5)  # the first on top
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2)


@mpl.rc_context(STYLE)
def figure_summary(scores: pd.DataFrame, labels: dict[str, str], dataset: str) -> ReportFigure:
    """Composes final DSC and Dice of every variant: every run a dot, their mean a bar, train beside test.

    Args:
        scores: indexed by variant, seed and split, with columns "dsc" and "dice".
        labels: of the variants, in the order in which they are drawn from top to bottom.
        dataset: its name, for the caption.
    """
    means = scores.groupby(["variant", "split"])[["dsc", "dice"]].mean().xs("test", level="split")
    caption = (
        f"Final scores on {dataset}: dots are single runs, bars their mean, n = "
        f"{count_of_runs(len(scores.index.unique('seed')))} a variant. No interval is drawn."
    )
    listed = "; ".join(f"{label} {means.dsc[v]:.3f} and {means.dice[v]:.3f}" for v, label in labels.items())
    alt = f"Dots of final scores. Mean test DSC and Dice: {listed}."
    figure = ReportFigure(None, caption, alt, scores.reset_index(), figsize=(7.6, 0.9 + 0.4 * len(labels)))
    kinds = {split: scores.xs(split, level="split") for split in COLOURS}
    draw_scores(figure, kinds, labels, {"dsc": "DSC (the study's)", "dice": "Dice coefficient"})
    return figure


AXES = {"noise_std": "sd of the noise", "dropout": "probability of dropout", "l2": "coefficient of L2"}


@mpl.rc_context(STYLE)
def figure_searches(
    number: int, scores: Mapping[str, pd.DataFrame], studys: Mapping[str, float], dataset: str, groups: str
) -> ReportFigure:
    """Composes dose-response curves: the validation score against the value of each parameter searched.

    Args:
        number: of the figure.
        scores: `lib.runs.scores.fold_scores` by parameter; the variants are its values, as `SEARCHED` labels them.
        studys: the study's value of each parameter.
        dataset: its name, for the caption.
        groups: what no two folds share, "patient" or "image".
    """
    held_out = pd.concat({name: of.xs("test", level="split") for name, of in scores.items()}, names=["parameter"])
    means = held_out.groupby(["parameter", "variant"], sort=False).mean()
    folds = len(held_out.index.unique("fold"))
    caption = (
        f"Scores on held-out training images of {dataset} against each parameter's value, equally spaced. Pale dots "
        f"are the {folds} folds, between which no {groups} is shared, n = 1 run each; the line is their mean, and no "
        "band is drawn. Ringed: the study's value; all train for as many epochs as the baseline, also with dropout."
    )
    best = {name: means.loc[name]["dsc"].idxmax() for name in scores}
    alt = (
        "Dose-response curves. Highest mean DSC: " + "; ".join(f"{AXES[n]} {value}" for n, value in best.items()) + "."
    )
    figure = ReportFigure(number, caption, alt, held_out.reset_index(), figsize=(7.6, 4.6))
    grid = figure.subplots(len(METRIC_NAMES), len(scores), sharey="row", squeeze=False)
    for column, name in enumerate(scores):
        values = list(means.loc[name].index)
        for row, metric in enumerate(METRIC_NAMES):
            ax, mean = grid[row][column], means.loc[name][metric]
            table = held_out.loc[name][metric].unstack("fold").loc[values]
            ax.plot(range(len(values)), table, "o", color=BACKDROP, alpha=0.5, markersize=3)
            ax.plot(range(len(values)), mean, "o-", color=COLOURS["test"], markersize=5)
            chosen = values.index(f"{studys[name]:g}")
            ax.plot(chosen, mean.iloc[chosen], "o", color="black", markersize=11, markerfacecolor="none")
            ax.set_xticks(range(len(values)), values)
            ax.set_xlim(-0.4, len(values) - 0.6)
        grid[-1][column].set_xlabel(AXES[name])
    for row, metric in zip(grid, METRIC_NAMES.values(), strict=True):
        row[0].set_ylabel(f"{metric}, held out")
    return figure


@mpl.rc_context(STYLE)
def figure_patients(
    number: int,
    seen: pd.DataFrame,
    new: pd.DataFrame,
    labels: Mapping[str, str],
    dataset: str,
    new_ones: str,
    n_train: tuple[int, int],
) -> ReportFigure:
    """Composes each variant's test scores on the given split beside those on patients that were left out of training.

    Args:
        number: of the figure.
        seen: `lib.runs.scores.mean_scores` of the given splits. new: `fold_scores` of folds over all images.
        labels: of the variants, in the order in which they are drawn from top to bottom.
        dataset: its name, for the caption.
        new_ones: what the folds hold out, "new patients" or "new images".
        n_train: images that the runs of the given split and, about, those of the folds were trained on.
    """
    kinds = {
        "test split": seen.xs("test", level="split")[list(METRIC_NAMES)],
        new_ones: new.xs("test", level="split")[list(METRIC_NAMES)],
    }
    n_runs, n_folds = (len(table.loc["baseline"]) for table in kinds.values())
    caption = (
        f"Scores on the test split of {dataset} beside scores on {new_ones}, left out of training in {n_folds} folds "
        f"over all images. Dots are single runs (n = {n_runs}) or folds (n = {n_folds}), bars their mean; folds differ "
        f"in what they hold out, runs do not. The first were trained on {n_train[0]} images, the folds on about "
        f"{n_train[1]}. No interval is drawn."
    )
    data = pd.concat(
        {kind: table.reset_index(names=["variant", "run"]) for kind, table in kinds.items()}, names=["kind"]
    )
    means = {kind: table["dsc"].groupby("variant").mean() for kind, table in kinds.items()}
    listed = [f"{label} {means['test split'][v]:.3f} and {means[new_ones][v]:.3f}" for v, label in labels.items()]
    alt = f"Dots of scores. Mean DSC on the test split and on {new_ones}: {'; '.join(listed)}."
    figure = ReportFigure(number, caption, alt, data.reset_index("kind"), figsize=(7.6, 1.1 + 0.5 * len(labels)))
    draw_scores(figure, kinds, labels, METRIC_NAMES)
    return figure
