"""The report's figures: data in, `Figure` out; nothing here loads, trains, saves or shows."""

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Float64, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from skimage.segmentation import mark_boundaries

from lib.data import Dataset, Split
from lib.evaluation import THRESHOLD, History
from lib.statistics import MARGIN

STYLE = mpl.rc_params_from_file(Path(__file__).with_name("report.mplstyle"), use_default_template=False)
COLOURS = {"train": "#0072B2", "test": "#D55E00"}
BACKDROP = "#8a8a8a"  # of the baseline behind a variant
# Told apart by lightness too, for a reader or a printer without colour.
OVERLAY = {"hit": "#56B4E9", "miss": "#F0E442", "false alarm": "#D55E00"}
METRIC_NAMES = {"dsc": "DSC", "dice": "Dice"}
# A page may be dark: what is black or white in the files follows its text and ground there.
ON_A_PAGE = {
    "fill: #ffffff": "fill: none",
    "#000000": "currentColor",
    "#e6e6e6": "var(--grid, #e6e6e6)",
    COLOURS["train"].lower(): f"var(--train, {COLOURS['train']})",
}
STAIN_NAMES = ("Haematoxylin", "Eosin", "Rest")
SVG_DPI = 150  # of images in SVG files, which a page carries whole
AXIS_LABELS = {"loss": "cross-entropy (nats per pixel)", "dsc": "DSC (share of equal pixels)"}


class ReportFigure(Figure):
    """A figure with its number, its caption, the text that stands for it where it cannot be seen, and its numbers.

    Notebooks show it with its caption; the same output carries it as SVG and PNG.
    """

    def __init__(self, number: int | None, caption: str, alt: str, data: pd.DataFrame, **options: Any) -> None:
        super().__init__(**options)
        self.report_number, self.caption, self.alt, self.data = number, caption, alt, data

    @property
    def label(self) -> str:
        """ "Figure 12", or "Summary" for the one without a number."""
        return f"Figure {self.report_number}" if self.report_number else "Summary"

    def render(self, file_format: str) -> bytes:
        """Returns the figure as "svg" or "png": the same bytes for the same figure, with no date in them."""
        buffer = io.BytesIO()
        with mpl.rc_context(STYLE):
            if layout := self.get_layout_engine():  # lays out anew, and a little differently, at every drawing
                layout.execute(self)
                self.set_layout_engine("none")
            if file_format == "png":
                self.savefig(buffer, format="png")
                return buffer.getvalue()
            images = [(ax, image) for ax in self.axes for image in ax.images]
            for ax, image in images:  # pixel by pixel, unless they have more than is seen
                width = ax.get_window_extent().width * SVG_DPI / self.dpi
                image.set_interpolation("none" if image.get_size()[1] <= width else None)
            self.savefig(buffer, format="svg", dpi=SVG_DPI, metadata={"Date": None})
            for _, image in images:
                image.set_interpolation(None)
        return buffer.getvalue()

    def _inline_svg(self, name: str) -> str:
        """Returns the drawing as an element of a page: with ids of its own, and in the page's colours."""
        svg = self.render("svg").decode()
        svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
        svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
        for colour, there in ON_A_PAGE.items():
            svg = svg.replace(colour, there)
        role = f'<svg role="img" aria-label="{html.escape(self.alt)}" fill="currentColor"'
        return re.sub(r'^<svg(.*?) width="[^"]*" height="[^"]*"', lambda match: role + match[1], svg)

    def to_html(self) -> str:
        """Returns the figure as an HTML figure element that needs no other file."""
        name = self.label.lower().replace(" ", "-")
        csv = base64.b64encode(self.data.to_csv(index=False, float_format="%.6g").encode()).decode()
        return (
            f'<figure id="{"figure-" * (self.report_number is None)}{name}" class="report-figure">'
            f'<div class="plot" tabindex="0" role="group" aria-label="{self.label}">{self._inline_svg(name)}</div>'
            f'<figcaption><strong class="number">{self.label}.</strong> {html.escape(self.caption)} '
            f'<a class="data" download="{name}.csv" href="data:text/csv;base64,{csv}" '
            f'aria-label="Data of {self.label} as CSV">Data</a></figcaption></figure>'
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        data = {
            "text/plain": f"{self.label}. {self.caption}",
            "text/html": self.to_html(),
            "image/svg+xml": self.render("svg").decode(),
            "image/png": base64.b64encode(self.render("png")).decode(),
        }
        return data, {"report_figure": {"number": self.report_number, "alt": self.alt}}


def _of_runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _curves(histories: Sequence[History], split: str, metric: str) -> Float64[np.ndarray, "run epoch"]:
    return np.array([getattr(history, split)[metric] for history in histories])


def draw_curves(ax: Axes, epochs: Sequence[int], curves: np.ndarray, **mean_line: Any) -> None:
    """Adds the learning curves of paired runs (run, epoch): every run thin, their mean strong."""
    if len(curves) > 1:
        ax.plot(epochs, curves.T, color=mean_line["color"], linewidth=0.6, alpha=0.6)
    ax.plot(epochs, curves.mean(axis=0), marker="o" if len(epochs) == 1 else None, **mean_line)


@mpl.rc_context(STYLE)
def figure_learning(
    number: int, label: str, histories: Sequence[History], dataset: str, baseline: Sequence[History] = ()
) -> ReportFigure:
    """Composes a learning plot: loss and DSC of train and test against epochs, the baseline's behind.

    Args:
        number: of the figure.
        label: of the variant.
        histories: the variant's, one per seed. baseline: the baseline's, if another variant is shown.
        dataset: its name, for the caption.
    """
    runs, epochs = _of_runs(len(histories)), histories[0].epochs
    caption = (
        f"Learning plot, {label}, on {dataset}: loss and DSC of training and test images, "
        f"scored without noise or dropout. n = {runs}"
        + ("; thin lines are single runs, strong lines their mean." if len(histories) > 1 else ".")
        + (f" Grey: the baseline's mean over {_of_runs(len(baseline))} with the same seeds." if baseline else "")
    )
    train, test = (_curves(histories, split, "dsc").mean(axis=0) for split in COLOURS)
    alt = (
        f"Two line plots against epochs for {label}, loss and DSC, mean of {runs}. Between epochs {epochs[0]} "
        f"and {epochs[-1]} DSC goes from {train[0]:.2f} to {train[-1]:.2f} on training images and from {test[0]:.2f} "
        f"to {test[-1]:.2f} on test images."
    )
    data = pd.concat(
        pd.DataFrame({"variant": of, "run": run, "split": split, "epoch": history.epochs, **getattr(history, split)})
        for of, shown in ((label, histories), ("Baseline", baseline))
        for run, history in enumerate(shown)
        for split in COLOURS
    )
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 3.3))
    for ax, metric in zip(figure.subplots(1, 2), AXIS_LABELS, strict=True):
        for split, dashes in (("train", "--"), ("test", "-")):
            if baseline:
                mean = _curves(baseline, split, metric).mean(axis=0, keepdims=True)
                behind = {"color": BACKDROP, "linewidth": 1.2, "linestyle": dashes, "label": f"baseline, {split}"}
                draw_curves(ax, baseline[0].epochs, mean, **behind)
            front = {"color": COLOURS[split], "linewidth": 2, "linestyle": dashes, "label": split}
            draw_curves(ax, epochs, _curves(histories, split, metric), **front)
        ax.set(xlabel="epoch", ylabel=AXIS_LABELS[metric])
        ax.set_xlim(left=0)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def draw_outlined(ax: Axes, image: np.ndarray, mask: np.ndarray) -> None:
    """Adds an image (height, width, 3) with the outline of its mask, yellow within black: seen on any ground."""
    ax.imshow(mark_boundaries(image, mask, color=to_rgb(OVERLAY["miss"]), outline_color=(0, 0, 0), mode="inner"))
    ax.set_axis_off()


@mpl.rc_context(STYLE)
def figure_contact_sheet(number: int, dataset: Dataset, columns: int = 8, rows: int = 2) -> ReportFigure:
    """Composes a sheet of images of every split, evenly chosen in the order of their names, with masks outlined."""
    chosen = {
        which: np.unique(np.linspace(0, len(split) - 1, min(rows * columns, len(split))).round().astype(int))
        for which, split in dataset.splits.items()
    }
    counts = ", ".join(f"{len(index)} of {len(dataset.splits[which])} {which}" for which, index in chosen.items())
    caption = f"Images of {dataset.name} with the outlines of their masks: {counts}, evenly chosen by name."
    alt = f"A contact sheet of images with outlined foreground: {counts}."
    lines = [
        (which, part)
        for which, index in chosen.items()
        for part in np.split(index, range(columns, len(index), columns))
    ]
    data = pd.DataFrame(
        [
            {"split": which, "name": split.names[i], "foreground": split.foreground[i]}
            for which, split in dataset.splits.items()
            for i in chosen[which]
        ]
    )
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 1.02 * len(lines)))
    close = {"wspace": 0.0, "hspace": 0.0, "w_pad": 0.02, "h_pad": 0.03}
    figure.get_layout_engine().set(**close)  # type: ignore[union-attr]  # the style file sets one
    grid = figure.subplots(len(lines), columns, squeeze=False)
    for (which, part), axes in zip(lines, grid, strict=True):
        for ax in axes:
            ax.set_axis_off()
        for ax, index in zip(axes, part, strict=False):
            draw_outlined(ax, dataset.splits[which].images[index], dataset.splits[which].masks[index])
        if part[0] == chosen[which][0]:
            axes[0].set_title(which, loc="left")
    return figure


@mpl.rc_context(STYLE)
def figure_foreground(number: int, dataset: Dataset) -> ReportFigure:
    """Composes how many images of each split have how much foreground, and the mean of each split."""
    means = {which: split.foreground_fraction for which, split in dataset.splits.items()}
    listed = ", ".join(f"{which} {mean:.2f}" for which, mean in means.items())
    sizes = ", ".join(f"{len(split)} {which}" for which, split in dataset.splits.items())
    caption = f"Share of foreground in the images of {dataset.name} ({sizes}); upright lines are means: {listed}."
    alt = f"Histograms of the share of foreground; means: {listed}."
    data = pd.concat(
        pd.DataFrame({"split": which, "name": split.names, "foreground": split.foreground})
        for which, split in dataset.splits.items()
    )
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 2))
    for ax, (which, split) in zip(
        figure.subplots(1, len(means), squeeze=False)[0], dataset.splits.items(), strict=True
    ):
        ax.hist(split.foreground, bins=np.linspace(0, 1, 21), color=COLOURS.get(which, BACKDROP))
        ax.axvline(means[which], color="black")
        ax.set(xlabel=f"share of foreground, {which}", ylabel="images", xlim=(0, 1))
        ax.yaxis.get_major_locator().set_params(integer=True)
    return figure


@mpl.rc_context(STYLE)
def figure_stains(number: int, colours: Split, stains: Split) -> ReportFigure:
    """Composes images in their colours, and as haematoxylin, eosin and what these do not explain.

    Args:
        number: of the figure.
        colours, stains: the same few images with the stain "rgb" and "unmixed".
    """
    caption = (
        f"{len(colours)} training images, in their colours and unmixed, dark where much of a stain is. Each stain is "
        "scaled from the 1st to the 99th percentile of the training images; the rest is what the two do not explain."
    )
    alt = f"{len(colours)} images in colours, and as haematoxylin, eosin and the rest."
    data = pd.DataFrame(
        [
            {"name": name, "channel": channel, "mean": of.mean(), "standard deviation": of.std()}
            for name, image in zip(colours.names, stains.images, strict=True)
            for channel, of in zip(STAIN_NAMES, image.transpose(2, 0, 1), strict=True)
        ]
    )
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 1.95 * len(colours)))
    grid = figure.subplots(len(colours), 4, squeeze=False)
    for row, image, unmixed in zip(grid, colours.images, stains.images, strict=True):
        row[0].imshow(image)
        for ax, channel in zip(row[1:], unmixed.transpose(2, 0, 1), strict=True):
            ax.imshow(channel, cmap="gray_r", vmin=0, vmax=255)
        for ax in row:
            ax.set_axis_off()
    for ax, name in zip(grid[0], ("Colours", *STAIN_NAMES), strict=True):
        ax.set_title(name)
    return figure


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
        claims: as `lib.claims.judge` gives them; what was not run, or by one run alone, is left out. Correlations have
            an axis of their own.
        dataset: its name, for the caption.
    """
    known = [claim for claim in claims if claim.get("effect") is not None]
    differences = [claim for claim in known if claim.get("seed_low") is not None or claim.get("se") is not None]
    correlations = [claim for claim in known if "se" not in claim]
    shown = sorted([*differences, *correlations], key=claims.index)
    ids = list(dict.fromkeys(claim["id"] for claim in shown))
    counts = [claim["n_seeds"] for claim in shown if not claim.get("n_folds")]
    runs = _of_runs(counts[0]) if counts else "no runs"
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


def draw_overlay(ax: Axes, image: np.ndarray, mask_true: np.ndarray, mask_pred: np.ndarray) -> None:
    """Adds an image (height, width, 3) in grey under the colours of hits, misses and false alarms."""
    grey = np.repeat(image.mean(axis=2, keepdims=True) / 255, 3, axis=2)
    kinds = {"hit": mask_true & mask_pred, "miss": mask_true & ~mask_pred, "false alarm": ~mask_true & mask_pred}
    for kind, pixels in kinds.items():
        grey[pixels] = 0.5 * grey[pixels] + 0.5 * np.array(to_rgb(OVERLAY[kind]))
    ax.imshow(grey)


@mpl.rc_context(STYLE)
def figure_prediction(
    number: int,
    which: str,
    name: str,
    image: UInt8[np.ndarray, "height width 3"],
    mask_true: Bool[np.ndarray, "height width"],
    probability: Float32[np.ndarray, "height width"],
    scores: pd.Series,
    n_images: int,
    n_seeds: int,
) -> ReportFigure:
    """Composes input, truth, probability and overlay of one test image.

    Args:
        number: of the figure.
        which: "best" or "worst". name: of the image.
        image: RGB. mask_true: True in the foreground. probability: of the foreground, in [0, 1].
        scores: "dsc" and "dice" of this prediction.
        n_images, n_seeds: how many images it was chosen from, by a mean over how many runs.
    """
    mask_pred = probability > THRESHOLD
    numbers = f"DSC {scores['dsc']:.3f}, Dice {scores['dice']:.3f}"
    caption = (
        f"The {which} of {n_images} test images by DSC, {name}, chosen by its mean over {_of_runs(n_seeds)}; "
        f"drawn is the first run's prediction ({numbers}). Foreground is where the probability exceeds {THRESHOLD}."
    )
    hits, misses, alarms = (
        pixels.mean() for pixels in (mask_true & mask_pred, mask_true & ~mask_pred, ~mask_true & mask_pred)
    )
    alt = (
        f"Four pictures of {name}: the input; its true mask, {mask_true.mean():.0%} of the image; the predicted "
        f"probability, from {probability.min():.2f} to {probability.max():.2f}; and an overlay in which {hits:.0%} of "
        f"pixels are hits, {misses:.0%} misses and {alarms:.0%} false alarms. {numbers}."
    )
    shares = {"foreground": mask_true.mean(), "hits": hits, "misses": misses, "false alarms": alarms}
    data = pd.DataFrame([{"name": name, **scores, **shares}])
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 2.35))
    axes = figure.subplots(1, 4)
    axes[0].imshow(image)
    axes[1].imshow(mask_true, cmap="gray", vmin=0, vmax=1)
    shown = axes[2].imshow(probability, cmap="viridis", vmin=0, vmax=1)
    draw_overlay(axes[3], image, mask_true, mask_pred)
    for ax, title in zip(axes, ("Input", "Truth", "Probability", "Overlay"), strict=True):
        ax.set_title(title)
        ax.set_axis_off()
    figure.colorbar(shown, cax=axes[2].inset_axes((0, -0.09, 1, 0.05)), orientation="horizontal", ticks=(0, 0.5, 1))
    axes[3].legend(
        handles=[Patch(color=colour, label=kind) for kind, colour in OVERLAY.items()], loc="upper center",
        bbox_to_anchor=(0.5, 0), ncols=3, fontsize=7, handlelength=0.8, columnspacing=0.7, handletextpad=0.3,
    )  # fmt: skip
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
        f"{_of_runs(len(scores.index.unique('seed')))} a variant. No interval is drawn."
    )
    listed = "; ".join(f"{label} {means.dsc[v]:.3f} and {means.dice[v]:.3f}" for v, label in labels.items())
    alt = f"Dots of final scores. Mean test DSC and Dice: {listed}."
    figure = ReportFigure(None, caption, alt, scores.reset_index(), figsize=(7.6, 0.9 + 0.4 * len(labels)))
    kinds = {split: scores.xs(split, level="split") for split in COLOURS}
    draw_scores(figure, kinds, labels, {"dsc": "DSC (the study's)", "dice": "Dice coefficient"})
    return figure
