"""Learning curves and gradients: data in, `Figure` out."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float64
from matplotlib.axes import Axes

from lib.claims.findings import learning_result
from lib.figures.style import BACKDROP, COLOURS, METRIC_NAMES, STYLE, ReportFigure, count_of_runs
from lib.runs.run import History

AXIS_LABELS = {
    "loss": "cross-entropy (nats per pixel)",
    "dsc": "DSC (share of equal pixels)",
    "dice": "Dice (overlap of foregrounds)",
}
FEW = 12  # scored epochs, each of which is then marked


def _curves(histories: Sequence[History], split: str, metric: str) -> Float64[np.ndarray, "run epoch"]:
    return np.array([getattr(history, split)[metric] for history in histories])


def draw_curves(ax: Axes, epochs: Sequence[int], curves: np.ndarray, **mean_line: Any) -> None:
    """Adds the learning curves of paired runs (run, epoch): every run thin, their mean strong."""
    if len(curves) > 1:
        ax.plot(epochs, curves.T, color=mean_line["color"], linewidth=0.6, alpha=0.6)
    ax.plot(epochs, curves.mean(axis=0), marker="o" if len(epochs) <= FEW else None, markersize=3, **mean_line)


@mpl.rc_context(STYLE)
def figure_learning(
    number: int,
    label: str,
    histories: Sequence[History],
    dataset: str,
    baseline: Sequence[History] = (),
    beside: Collection[Sequence[History]] = (),
    constant: Mapping[str, Mapping[str, float]] | None = None,
) -> ReportFigure:
    """Composes a learning plot: loss, DSC and Dice of train and test against epochs, the baseline's behind.

    Args:
        number: of the figure.
        label: of the variant.
        histories: the variant's, one per seed. baseline: the baseline's, if another variant is shown.
        dataset: its name, for the caption.
        beside: histories of all variants whose figures share their vertical axes.
        constant: what constant answers score on the test images, as `lib.runs.scores.constant_means` gives it.
    """
    runs, epochs = count_of_runs(len(histories)), histories[0].epochs
    best = {metric: max(answer[metric] for answer in constant.values()) for metric in METRIC_NAMES} if constant else {}
    caption = (
        f"{learning_result(label, histories, baseline, best)} Loss, DSC and Dice of training and test images of the "
        f"{dataset} set, scored without noise or dropout. n = {runs}"
        + ("; thin lines are single runs, strong lines their mean." if len(histories) > 1 else ".")
        + (f" Grey: the baseline's mean over {count_of_runs(len(baseline))} with the same seeds." if baseline else "")
        + (" Dotted: the best constant answer on the test images." if best else "")
        + (" The figures of all networks share their vertical axes." if beside else "")
    )
    ends = "; ".join(
        f"{name} goes from {train[0]:.2f} to {train[-1]:.2f} on training images and from {test[0]:.2f} to "
        f"{test[-1]:.2f} on test images"
        for metric, name in METRIC_NAMES.items()
        for train, test in [[_curves(histories, split, metric).mean(axis=0) for split in COLOURS]]
    )
    alt = (
        f"Three line plots against epochs for {label}, loss, DSC and Dice, mean of {runs}. Between epochs {epochs[0]} "
        f"and {epochs[-1]}, {ends}."
    )
    data = pd.concat(
        pd.DataFrame({"variant": of, "run": run, "split": split, "epoch": history.epochs, **getattr(history, split)})
        for of, shown in ((label, histories), ("Baseline", baseline))
        for run, history in enumerate(shown)
        for split in COLOURS
    )
    figure = ReportFigure(number, caption, alt, data, figsize=(7.6, 2.9))
    everything = [history for some in (*beside, histories, baseline) for history in some]
    for ax, metric in zip(figure.subplots(1, len(AXIS_LABELS)), AXIS_LABELS, strict=True):
        for split, dashes in (("train", "--"), ("test", "-")):
            if baseline:
                mean = _curves(baseline, split, metric).mean(axis=0, keepdims=True)
                behind = {"color": BACKDROP, "linewidth": 1.2, "linestyle": dashes, "label": f"baseline, {split}"}
                draw_curves(ax, baseline[0].epochs, mean, **behind)
            name = f"{label[0].lower() + label[1:] if label[1:2].islower() else label}, {split}"
            front = {"color": COLOURS[split], "linewidth": 2, "linestyle": dashes, "label": name}
            draw_curves(ax, epochs, _curves(histories, split, metric), **front)
        if metric in best:
            ax.axhline(best[metric], color="black", linewidth=1, linestyle=":", label="best constant answer")
        seen = [x for history in everything for split in COLOURS for x in getattr(history, split)[metric]]
        seen += [best[metric]] if metric in best else []
        room = 0.05 * (max(seen) - min(seen)) or 0.01
        if np.isfinite(room):
            ax.set_ylim(min(seen) - room, max(seen) + room)
        ax.set(xlabel="epoch", ylabel=AXIS_LABELS[metric])
        ax.set_xlim(left=0)
        ax.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3 if len(labels) > 4 else len(labels))
    return figure


def gradient_table(norms: Mapping[str, Sequence[Sequence[Mapping[str, float]]]], epochs: int) -> pd.DataFrame:
    """Returns the norms of the weights' gradients of the first epochs, as means over runs.

    Args:
        norms: by network, of each run and epoch, as `Training.gradient_norms` has them.
        epochs: how many from the first on.

    Returns:
        Indexed by network and layer, in the order in which a signal passes; a column for each epoch, from 1.
    """
    tables = {
        network: pd.concat([pd.DataFrame(run[:epochs]) for run in runs]).groupby(level=0).mean().T
        for network, runs in norms.items()
    }
    table = pd.concat(tables, names=["network", "layer"])
    table = table[table.index.get_level_values("layer").str.endswith(".weight")]
    return table.rename(index=lambda name: name.removesuffix(".weight")).rename(columns=lambda epoch: epoch + 1)


@mpl.rc_context(STYLE)
def figure_gradients(number: int, table: pd.DataFrame, n_runs: int, dataset: str) -> ReportFigure:
    """Composes the gradient norm of every layer from input to output, a line for each epoch of `gradient_table`."""
    networks = list(table.index.unique("network"))
    at_input = " and ".join(f"{table.loc[network].iloc[0, 0]:.2g} in the {network} network" for network in networks)
    caption = (
        f"In the first epoch, the gradient of the first layer's weights has a norm of {at_input}. Norm of the loss's "
        f"gradient with respect to each layer's weights on the {dataset} set, from the input on the left to the output "
        f"on the right; mean over the batches of an epoch and {count_of_runs(n_runs)}. One line an epoch, from the "
        f"first (darkest) to epoch {table.columns[-1]}."
    )
    firsts = [f"{table.loc[(network, layer), 1]:.2g} in {layer} of the {network} network"
              for network in networks for layer in table.loc[network].index[[0, -1]]]  # fmt: skip
    alt = f"Lines of gradient norms by layer. In the first epoch: {'; '.join(firsts)}."
    figure = ReportFigure(number, caption, alt, table.reset_index(), figsize=(7.6, 3.0))
    panels = figure.subplots(1, len(networks), sharey=True, width_ratios=[len(table.loc[n]) for n in networks])
    for ax, network in zip(np.atleast_1d(panels), networks, strict=True):
        for age, (_, values) in enumerate(table.loc[network].items()):
            ax.plot(
                values.index, values, "o-", color=COLOURS["train"], alpha=1 - 0.8 * age / table.shape[1], markersize=3
            )
        ax.set(yscale="log", title=f"{network} network")
        ax.tick_params(axis="x", rotation=45)
    np.atleast_1d(panels)[0].set_ylabel("gradient norm")
    return figure
