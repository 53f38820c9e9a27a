"""Effects, scores and searches: data in, `Figure` out."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.claims.intervals import FEWEST_SEEDS, MARGIN
from lib.claims.verdicts import PRIMARY, CorrelationJudgement, Judgement, NotRun, claim_results
from lib.figures.style import BACKDROP, COLOURS, METRIC_NAMES, STYLE, ReportFigure, count_of_runs


def draw_interval(ax: Axes, bounds: tuple[float, float], y: float, **line: Any) -> None:
    """Adds an interval as a horizontal line, or nothing where a bound is unknown (nan)."""
    if np.isfinite(bounds).all():
        ax.plot(bounds, (y, y), **line)


def draw_runs(ax: Axes, effects: Sequence[float], y: float) -> None:
    """Adds the effect in each run as a tick; unknown ones (nan) are left out."""
    ax.plot(effects, np.full(len(effects), y), "|", color=BACKDROP, markersize=4)


@mpl.rc_context(STYLE)
def figure_effects(number: int, judged: Sequence[Judgement | NotRun], dataset: str) -> ReportFigure:
    """Composes every measured effect with its interval, and the interval of training noise alone behind it.

    Effects of fewer than FEWEST_SEEDS runs have none, since it would mean little.

    Args:
        number: of the figure.
        judged: as `lib.claims.verdicts.judge` gives it; what was not run is left out. Correlations have an axis of
            their own.
        dataset: its name, for the caption.
    """
    drawn = [one for one in judged if isinstance(one, Judgement) and np.isfinite(one.estimate.effect)]
    correlations = [one for one in drawn if isinstance(one, CorrelationJudgement)]
    differences = [one for one in drawn if not isinstance(one, CorrelationJudgement)]
    ids = list(dict.fromkeys(one.claim.id for one in drawn))
    divisions = max((one.n_divisions for one in drawn), default=0)
    counts = [len(one.by_run) for one in drawn if one.over_seeds is not None]
    far = any(abs(effect) > 0.1 for one in differences for effect in one.by_run)
    caption = _caption(differences, counts, divisions, bool(correlations), far, dataset)
    alt = "Effects with intervals. " + "; ".join(
        f"{one.claim.id} in {METRIC_NAMES[one.metric]} {one.estimate.effect:+.3f}, {one.verdict}" for one in drawn
    )
    if not drawn:
        alt = "Two empty plots, of DSC and Dice: so few runs give no effect an interval"
    columns = ["id", "metric", "measure", "n_seeds", "effect", "ci_low", "ci_high", "seed_low", "seed_high", "verdict"]
    data = pd.DataFrame([claim_results(one) for one in drawn], columns=pd.Index(columns))
    data["runs"] = [" ".join(f"{effect:.6g}" for effect in one.by_run) for one in drawn]
    figure = ReportFigure(number, caption, alt + ".", data, figsize=(7.6, 1.0 + 0.42 * len(ids)))
    panels = figure.subplots(1, 3 if correlations else 2, sharey=True, width_ratios=(3, 3, 2)[: 2 + bool(correlations)])
    colour = COLOURS["train"]
    for ax, metric in zip(panels[:2], METRIC_NAMES, strict=True):
        ax.axvspan(-MARGIN, MARGIN, facecolor="#e6e6e6", edgecolor=BACKDROP, linewidth=0.6)  # seen by its edges
        ax.axvline(0, color="black", linewidth=0.8)
        for one in (difference for difference in differences if difference.metric == metric):
            row = ids.index(one.claim.id)
            if one.over_seeds is not None and len(one.by_run) >= FEWEST_SEEDS:
                bounds = (one.over_seeds.ci_low, one.over_seeds.ci_high)
                draw_interval(ax, bounds, row, color=colour, linewidth=7, alpha=0.25)
            draw_runs(ax, one.by_run, row + 0.28)
            if one.n_runs >= FEWEST_SEEDS:
                draw_interval(ax, (one.estimate.ci_low, one.estimate.ci_high), row, color=colour, linewidth=1.8)
            ax.plot(one.estimate.effect, row, "o", color=colour, markersize=6)
        if far:
            ax.set_xscale("symlog", linthresh=0.05, linscale=1)
            ax.set_xticks([-0.2, -0.05, 0, 0.05, 0.2], ["-0.2", "-0.05", "0", "0.05", "0.2"], fontsize=7)
        ax.set(xlabel=f"difference in {METRIC_NAMES[metric]}")
        ax.grid(axis="y", visible=False)
    for one in correlations:
        ax, is_first = panels[-1], one.metric == "dsc"
        y = ids.index(one.claim.id) + (-0.22 if is_first else 0.22)
        draw_runs(ax, one.by_run, y + 0.18)
        if one.n_runs >= FEWEST_SEEDS:
            draw_interval(ax, (one.estimate.ci_low, one.estimate.ci_high), y, color=colour, linewidth=1.8)
        face = colour if is_first else "white"
        ax.plot(one.estimate.effect, y, "o", color=colour, markersize=5, markerfacecolor=face)
    if correlations:
        panels[-1].axvline(0, color="black", linewidth=0.8)
        panels[-1].set(xlabel="rank correlation", xlim=(-1, 1))
        panels[-1].grid(axis="y", visible=False)
    ends = [end for ax in panels[:2] for end in ax.get_xlim()]
    for ax in panels[:2]:
        ax.set_xlim(min(ends), max(ends))
    labels = {one.claim.id: f"{one.claim.id} {'→' if one.claim.claimed > 0 else '←'} {one.measure}" for one in drawn}
    panels[0].set_yticks(range(len(ids)), [fill(labels[name], 36) for name in ids])
    panels[0].tick_params(axis="y", pad=158)  # lines of a label start at one place, whatever font a browser has
    for text in panels[0].get_yticklabels():
        text.set(horizontalalignment="left")
    panels[0].invert_yaxis()
    return figure


def _caption(
    differences: Sequence[Judgement],
    counts: Sequence[int],
    divisions: int,
    correlations: bool,
    far: bool,
    dataset: str,
) -> str:
    """Returns the caption of `figure_effects`, which names only what is drawn."""
    in_scores = []
    for metric, name in METRIC_NAMES.items():
        sizes = [abs(one.estimate.effect) for one in differences if one.metric == metric]
        in_scores.append(f"{sum(size > MARGIN for size in sizes)} of {len(sizes)} in {name}")
    runs = count_of_runs(counts[0]) if counts else "no runs"
    held_out = f", dark lines over {divisions} divisions of all images into folds" if divisions else ""
    intervals = any(one.n_runs >= FEWEST_SEEDS for one in differences)
    caption = (
        f"Estimated effects larger than {MARGIN}: {' and '.join(in_scores)}. On the {dataset} set, over {runs} of each "
        f"network{held_out}; dots: means; ticks below: single runs."
    )
    if intervals:
        caption += (
            " Dark lines: 95% intervals for other patients. Pale lines: for other seeds, with these images fixed. Both "
            f"are adjusted for {len(PRIMARY)} contrasts where a claim is among them."
        )
    caption += " How to read it: right of 0 is an increase; arrows: what the claim asserts; "
    caption += f"effects in the grey band, below {MARGIN}, hardly matter"
    caption += ", and an interval inside it rules out larger ones." if intervals else "."
    if far:
        caption += " Beyond 0.05 the axes are logarithmic."
    if correlations:
        caption += " Right: rank correlations with DSC (filled) and Dice (hollow)."
    return caption


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
def figure_summary(
    scores: pd.DataFrame, labels: dict[str, str], dataset: str, constant: Mapping[str, Mapping[str, float]]
) -> ReportFigure:
    """Composes final DSC and Dice of every variant: every run a dot, their mean a bar, train beside test.

    Args:
        scores: indexed by variant, seed and split, with columns "dsc" and "dice".
        labels: of the variants, in the order in which they are drawn from top to bottom.
        dataset: its name, for the caption.
        constant: what constant answers score on the test images, as `lib.runs.scores.constant_means` gives it.
    """
    means = scores.groupby(["variant", "split"])[["dsc", "dice"]].mean().xs("test", level="split")
    best = {
        metric: f"{means[metric].max():.3f} in {name} ({labels[means[metric].idxmax()]})"
        for metric, name in METRIC_NAMES.items()
    }
    caption = (
        f"Highest mean test scores: {best['dsc']} and {best['dice']}. Final scores on the {dataset} set; dots: single "
        f"runs, hollow for training and filled for test images; bars: means over "
        f"{count_of_runs(len(scores.index.unique('seed')))}; dotted: the best constant answer on the test images."
    )
    listed = "; ".join(f"{label} {means.dsc[v]:.3f} and {means.dice[v]:.3f}" for v, label in labels.items())
    alt = f"Dots of final scores. Mean test DSC and Dice: {listed}."
    figure = ReportFigure(None, caption, alt, scores.reset_index(), figsize=(7.6, 0.9 + 0.4 * len(labels)))
    kinds = {split: scores.xs(split, level="split") for split in COLOURS}
    draw_scores(figure, kinds, labels, {"dsc": "DSC (the study's)", "dice": "Dice coefficient"})
    for ax, metric in zip(figure.axes, METRIC_NAMES, strict=True):
        ax.axvline(max(answer[metric] for answer in constant.values()), color="black", linewidth=1, linestyle=":")
    return figure


AXES = {"noise_std": "sd of the noise", "dropout": "probability of dropout", "l2": "coefficient of L2"}


@mpl.rc_context(STYLE)
def figure_searches(
    number: int, scores: Mapping[str, pd.DataFrame], studys: Mapping[str, float], dataset: str, groups: str
) -> ReportFigure:
    """Composes dose-response curves: the held-out score against the value of each parameter searched.

    Args:
        number: of the figure.
        scores: by parameter and its values, one for each division into folds, with columns "dsc" and "dice".
        studys: the study's value of each parameter.
        dataset: its name, for the caption.
        groups: what no two folds share, "patient" or "image".
    """
    held_out = pd.concat(scores, names=["parameter"])
    means = held_out.groupby(["parameter", "variant"], sort=False).mean()
    highest = "; ".join(f"{AXES[name]} {means.loc[name]['dsc'].idxmax():g}" for name in scores)
    caption = (
        f"Highest mean DSC on held-out images: {highest}. Scores on the {dataset} set against each parameter's value, "
        f"equally spaced. Pale dots: divisions of all images into folds, between which no {groups} is shared; line: "
        "their mean; ringed: the study's value. All train for as many epochs as the baseline, also with dropout."
    )
    alt = f"Dose-response curves. Highest mean DSC: {highest}."
    figure = ReportFigure(number, caption, alt, held_out.reset_index(), figsize=(7.6, 4.6))
    grid = figure.subplots(len(METRIC_NAMES), len(scores), sharey="row", squeeze=False)
    for column, name in enumerate(scores):
        values = list(means.loc[name].index)
        for row, metric in enumerate(METRIC_NAMES):
            ax, mean = grid[row][column], means.loc[name][metric]
            table = held_out.loc[name][metric].unstack("seed").loc[values]
            ax.plot(range(len(values)), table, "o", color=BACKDROP, alpha=0.5, markersize=3)
            ax.plot(range(len(values)), mean, "o-", color=COLOURS["test"], markersize=5)
            chosen = values.index(studys[name])
            ax.plot(chosen, mean.iloc[chosen], "o", color="black", markersize=11, markerfacecolor="none")
            ax.set_xticks(range(len(values)), [f"{value:g}" for value in values])
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
        seen, new: `lib.runs.scores.mean_scores` of the given splits, and of folds over all images.
        labels: of the variants, in the order in which they are drawn from top to bottom.
        dataset: its name, for the caption.
        new_ones: what the folds hold out, "new patients" or "new images".
        n_train: images that the runs of the given split and, about, those of the folds were trained on.
    """
    kinds = {
        "test split": seen.xs("test", level="split")[list(METRIC_NAMES)],
        new_ones: new.xs("test", level="split")[list(METRIC_NAMES)],
    }
    n_runs, n_divisions = (len(table.loc["baseline"]) for table in kinds.values())
    means = {kind: table["dsc"].groupby("variant").mean() for kind, table in kinds.items()}
    caption = (
        f"The baseline's mean DSC is {means['test split']['baseline']:.3f} on the test split and "
        f"{means[new_ones]['baseline']:.3f} on {new_ones}. On the {dataset} set; for {new_ones}, all images are held "
        f"out once in each of {n_divisions} divisions into folds. Dots: single runs (n = {n_runs}) or divisions (n = "
        f"{n_divisions}); bars: their mean. The first were trained on {n_train[0]} images, the others on about "
        f"{n_train[1]}."
    )
    data = pd.concat(
        {kind: table.reset_index(names=["variant", "run"]) for kind, table in kinds.items()}, names=["kind"]
    )
    listed = [f"{label} {means['test split'][v]:.3f} and {means[new_ones][v]:.3f}" for v, label in labels.items()]
    alt = f"Dots of scores. Mean DSC on the test split and on {new_ones}: {'; '.join(listed)}."
    figure = ReportFigure(number, caption, alt, data.reset_index("kind"), figsize=(7.6, 1.1 + 0.5 * len(labels)))
    draw_scores(figure, kinds, labels, METRIC_NAMES)
    return figure
