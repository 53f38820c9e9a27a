"""Figures of the side experiments: data in, `Figure` out, as in `lib.figures`."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd

from lib.figures import BACKDROP, COLOURS, METRIC_NAMES, STYLE, ReportFigure, draw_scores

AXES = {"noise_std": "sd of the noise", "dropout": "probability of dropout", "l2": "coefficient of L2"}


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
    caption = (
        f"Norm of the loss's gradient with respect to each layer's weights on {dataset}, from the input on the left to "
        f"the output on the right; mean over the batches of an epoch and {n_runs} {'run' if n_runs == 1 else 'runs'}. "
        f"One line an epoch, from the first (darkest) to epoch {table.columns[-1]}. No band is drawn."
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


@mpl.rc_context(STYLE)
def figure_searches(
    number: int, scores: Mapping[str, pd.DataFrame], studys: Mapping[str, float], dataset: str, groups: str
) -> ReportFigure:
    """Composes dose-response curves: the validation score against the value of each parameter searched.

    Args:
        number: of the figure.
        scores: `lib.experiments.fold_scores` by parameter; the variants are its values, as `SEARCHED` labels them.
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
        seen: `lib.experiments.mean_scores` of the given splits. new: `fold_scores` of folds over all images.
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
