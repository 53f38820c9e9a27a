"""The variants of the study and their paired runs.

A run is one configuration trained on one dataset. It is trained once: notebooks and the report ask for the
same runs, and find them in the store.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib import store
from lib.data import Dataset, Fold, Split, UserError
from lib.engine import Planned, TrainingError, finish_runs
from lib.evaluation import METRICS, History, predict
from lib.training import Precision, TrainingConfig, build_network


@dataclass(frozen=True)
class Variant:
    """One row of the comparison: a name to print, and what differs from the baseline."""

    label: str
    changes: Mapping[str, Any]  # of TrainingConfig
    epochs_factor: int = 1  # times the baseline's epochs


# A variant is one line here; tables, comparison and results.json take it up by themselves.
VARIANTS: dict[str, Variant] = {
    "baseline": Variant("Baseline", {}),
    "noise": Variant("Noise", {"noise_std": 0.03}),
    "dropout": Variant("Dropout", {"network": "dropout_CNN_segment"}, epochs_factor=2),
    "l2": Variant("L2", {"l2": 5e-5}),
}


# The values among which the study's own was chosen "after trial and error", or might have been.
SEARCHED: dict[str, dict[float, Variant]] = {
    "noise_std": {std: Variant(f"{std:g}", {"noise_std": std}) for std in (0.0, 0.01, 0.03, 0.1)},
    "dropout": {  # at the baseline's number of epochs, so that 0 is the baseline
        0.0: Variant("0", {}),
        **{p: Variant(f"{p:g}", {"network": "dropout_CNN_segment", "dropout": p}) for p in (0.25, 0.5, 0.75)},
    },
    "l2": {
        coefficient: Variant(f"{coefficient:g}", {"l2": coefficient}) for coefficient in (0, 5e-6, 5e-5, 5e-4, 5e-3)
    },
}


@dataclass(frozen=True)
class Experiment:
    """Variants that are compared on the same data.

    Attributes:
        variants: by their keys.
        folds: of the dataset; none trains on the training split and tests on the test split.
        seeds: runs of each variant in each fold; 0 is as many as the report asks for.
    """

    variants: Mapping[str, Variant]
    folds: tuple[Fold, ...] = ()
    seeds: int = 0


_VALIDATION = tuple(Fold("train", index) for index in range(5))
# What a full study trains. All but the first are what the study mentions in passing, or what its claims ask for.
EXPERIMENTS: dict[str, Experiment] = {
    "variants": Experiment(VARIANTS),
    "deeper": Experiment(
        {"deeper": Variant("Deeper network", {"network": "deeper_CNN_segment", "snapshot_every": 20})}
    ),
    "dropout layers": Experiment(
        {
            "one": Variant("One layer, p = 0.5", {"network": "dropout_CNN_segment", "dropout": 0.5}, epochs_factor=2),
            "two": Variant("Two layers, p = 0.2", {"network": "two_dropouts_CNN_segment"}, epochs_factor=2),
        },
        _VALIDATION,
        seeds=1,
    ),
    **{
        parameter: Experiment({variant.label: variant for variant in values.values()}, _VALIDATION, seeds=1)
        for parameter, values in SEARCHED.items()
    },
    "new patients": Experiment(VARIANTS, tuple(Fold("all", index) for index in range(5)), seeds=2),
    "weight decay": Experiment(
        {
            "penalty": VARIANTS["l2"],
            "adam": Variant("Adam, weight_decay 1e-4", {"weight_decay": 1e-4}),
            "adamw": Variant("AdamW, weight_decay 1e-4", {"optimizer": "AdamW", "weight_decay": 1e-4}),
            "adamw default": Variant("AdamW, its default 0.01", {"optimizer": "AdamW", "weight_decay": 1e-2}),
        },
        seeds=3,
    ),
}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        config: that it was trained with.
        fold: of the dataset that it was trained and scored on, None for the dataset's own splits.
        seconds: training time of every epoch.
        gradient_norms: mean norm of each parameter tensor's gradient, of every epoch.
        snapshots: the weights after each scored epoch, the last of the run among them.
        scores: of every image after these epochs, by epoch, split and metric, float64 (image,).
    """

    config: TrainingConfig
    fold: Fold | None
    seconds: list[float]
    gradient_norms: list[dict[str, float]]
    snapshots: dict[int, dict[str, Tensor]]
    scores: dict[int, dict[str, dict[str, Tensor]]]

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights after the last epoch."""
        return self.snapshots[self.config.epochs]

    @property
    def history(self) -> History:
        """The learning curve: means over images."""
        epochs = sorted(self.scores)
        train, test = (
            {metric: [self.scores[epoch][split][metric].mean().item() for epoch in epochs] for metric in METRICS}
            for split in ("train", "test")
        )
        return History(epochs, train, test, self.seconds)

    def network(self) -> nn.Module:
        """Returns the trained network."""
        network = build_network(self.config)
        network.load_state_dict(self.weights)
        return network

    def probabilities(self, split: Split, name: str) -> np.ndarray:
        """Returns the foreground probability of each pixel of one image, float32 (height, width)."""
        image, _ = split.pair(name)
        return predict(self.network(), torch.from_numpy(image[None]))[0].numpy()


def variant_config(
    variant: str | Variant, seed: int, epochs: int, learning_rate: float = 1e-3, precision: Precision = "fp32"
) -> TrainingConfig:
    """Returns the configuration of one run; variants of one seed share initialisation and batch order."""
    spec = VARIANTS[variant] if isinstance(variant, str) else variant
    baseline = TrainingConfig(
        seed=seed, epochs=epochs * spec.epochs_factor, learning_rate=learning_rate, precision=precision
    )
    return replace(baseline, **spec.changes)


def plan(
    experiment: Experiment, seeds: int, epochs: int, learning_rate: float = 1e-3, precision: Precision = "fp32"
) -> dict[str, list[Planned]]:
    """Returns the runs of each variant of an experiment.

    No two folds share a seed, so that their training noise is independent, and only the last epoch is scored in them.
    """
    places = [fold for fold in experiment.folds or (None,) for _ in range(experiment.seeds or seeds)]  # a seed each
    configs = {
        name: [variant_config(variant, seed, epochs, learning_rate, precision) for seed in range(len(places))]
        for name, variant in experiment.variants.items()
    }
    return {
        name: [
            Planned(replace(config, snapshot_every=config.epochs) if fold else config, fold)
            for config, fold in zip(of_variant, places, strict=True)
        ]
        for name, of_variant in configs.items()
    }


def stored_run(planned: Planned, dataset: Dataset) -> Run | None:
    """Returns a finished run from the store, or None where it is not there or was scored by other code."""
    payload = store.read(planned.folder(dataset) / store.RUN)
    state = store.from_bytes(payload) if payload else None
    if state is None or state["scored_by"] != store.scoring_code():
        return None
    training = state["training"]
    return Run(*planned, training["seconds"], training["gradient_norms"], training["snapshots"], state["scores"])


def finished(dataset: Dataset, wanted: Iterable[Planned], workers: int) -> dict[Planned, Run]:
    """Returns runs from the store where they are, and trained, in their order, where they are not.

    Raises:
        TrainingError: with the configuration and the cause of each run that failed, after all others ended.
    """
    runs = {planned: stored_run(planned, dataset) for planned in wanted}
    missing = [planned for planned, run in runs.items() if run is None]
    finish_runs({planned.folder(dataset): planned for planned in missing}, dataset, workers)
    runs |= {planned: stored_run(planned, dataset) for planned in missing}
    for planned, run in runs.items():
        if run is None:
            raise TrainingError(f"{planned}: finished, and gone from the store or scored by other code since")
    return cast(dict[Planned, Run], runs)


def trained_runs(
    dataset: Dataset,
    variants: Sequence[str],
    seeds: int,
    epochs: int,
    learning_rate: float = 1e-3,
    precision: Precision = "fp32",
    workers: int = 1,
) -> dict[str, list[Run]]:
    """Returns the runs of some variants of the study, from the store or trained.

    Args:
        dataset: trained and scored on.
        variants: keys of VARIANTS.
        seeds: runs a variant, with the seeds 0 .. seeds - 1.
        epochs: of the baseline; some variants train a multiple of it.
        learning_rate: of Adam.
        precision: of the convolutions in training, "fp32" or "bf16".
        workers: processes that train at the same time, one thread each.

    Returns:
        For each variant its runs, in the order of their seeds.

    Raises:
        TrainingError: with the configuration and the cause of each run that failed, after all others ended.
    """
    plans = plan(Experiment({v: VARIANTS[v] for v in variants}), seeds, epochs, learning_rate, precision)
    longest_first = sorted(chain(*plans.values()), key=lambda planned: -planned.config.epochs)
    runs = finished(dataset, longest_first, workers)
    return {variant: [runs[planned] for planned in of_variant] for variant, of_variant in plans.items()}


def report_runs(
    dataset: Dataset,
    seeds: int,
    epochs: int,
    learning_rate: float = 1e-3,
    precision: Precision = "fp32",
    workers: int = 1,
    study: bool = False,
) -> dict[str, dict[str, list[Run]]]:
    """Returns the runs of a report by experiment and variant: "variants" alone, or in a full study all EXPERIMENTS.

    Args: those of `trained_runs`.

    Raises:
        UserError: a full study cannot be divided into folds.
        TrainingError: as in `trained_runs`.
    """
    chosen = EXPERIMENTS if study else {"variants": EXPERIMENTS["variants"]}
    if study and not Fold("train", 0).count(dataset):
        raise UserError(
            f"{dataset.name}: expected training images of two patients or more for the folds of a full study, found "
            "one; `make report` needs no folds"
        )
    possible = {  # with few patients there are fewer folds
        name: replace(experiment, folds=tuple(fold for fold in experiment.folds if fold.index < fold.count(dataset)))
        for name, experiment in chosen.items()
    }
    plans = {name: plan(of_name, seeds, epochs, learning_rate, precision) for name, of_name in possible.items()}
    wanted = [  # experiment by experiment, so that a study that is cut off has finished its first ones
        planned
        for of_experiment in plans.values()
        for planned in sorted(chain(*of_experiment.values()), key=lambda planned: -planned.config.epochs)
    ]
    runs = finished(dataset, wanted, workers)
    return {
        name: {variant: [runs[planned] for planned in of_variant] for variant, of_variant in of_experiment.items()}
        for name, of_experiment in plans.items()
    }


def image_scores(runs: Mapping[str, Sequence[Run]], dataset: Dataset, epoch: int | None = None) -> pd.DataFrame:
    """Returns the scores image by image, after the last epoch of each run or after a given one.

    Returns:
        Indexed by variant, seed, split (as in `Dataset.splits`) and image; one column for each of METRICS.

    Raises:
        KeyError: a run was not scored after that epoch.
    """
    scores = {
        (variant, run.config.seed, name): pd.DataFrame(
            run.scores[epoch or run.config.epochs][name], index=list(split.names)
        )
        for variant, of_variant in runs.items()
        for run in of_variant
        for name, split in dataset.splits.items()
    }
    return pd.concat(scores, names=["variant", "seed", "split", "image"])


def mean_scores(by_image: pd.DataFrame) -> pd.DataFrame:
    """Returns the means over images of `image_scores`, indexed by variant, seed and split."""
    return by_image.groupby(["variant", "seed", "split"], sort=False).mean()


def fold_scores(runs: Mapping[str, Sequence[Run]]) -> pd.DataFrame:
    """Returns the final scores of runs in folds, as means over images and over the runs of a fold.

    Returns:
        Indexed by variant, fold and split ("test" is what was held out); one column for each of METRICS.
    """
    rows = [
        {"variant": variant, "fold": run.fold.index, "split": split}
        | {metric: values.mean().item() for metric, values in of_split.items()}
        for variant, of_variant in runs.items()
        for run in of_variant
        if run.fold is not None
        for split, of_split in run.scores[run.config.epochs].items()
    ]
    return pd.DataFrame(rows).groupby(["variant", "fold", "split"], sort=False).mean()


@dataclass(frozen=True)
class Evidence:
    """The scores that claims are judged by.

    Attributes:
        by_image: final scores of VARIANTS, as `image_scores` gives them; in a full study of "deeper", too.
        at_epoch: the last epoch that baseline and dropout were both scored after, None where there is none.
        equal_epochs: `image_scores` of these two after that epoch, None where there is none.
        folds: `fold_scores` by experiment; empty but in a full study.
        first_gradients: mean norms of the gradient of the first layer's weights in the first epoch, of "baseline" and
            "deeper"; empty but in a full study.
    """

    by_image: pd.DataFrame
    at_epoch: int | None
    equal_epochs: pd.DataFrame | None
    folds: Mapping[str, pd.DataFrame]
    first_gradients: Mapping[str, float] = field(default_factory=dict)


def evidence(runs: Mapping[str, Mapping[str, Sequence[Run]]], dataset: Dataset) -> Evidence:
    """Returns the scores of the runs of a report, as `report_runs` gives them."""
    variants = runs["variants"]
    pair = {name: variants[name] for name in ("baseline", "dropout")}
    compared = {"baseline": variants["baseline"], **runs["deeper"]} if "deeper" in runs else {}
    scored = set.intersection(*(set(run.scores) for of_variant in pair.values() for run in of_variant))
    return Evidence(
        by_image=image_scores({**variants, **runs.get("deeper", {})}, dataset),
        at_epoch=max(scored, default=None),
        equal_epochs=image_scores(pair, dataset, max(scored)) if scored else None,
        folds={name: fold_scores(of_name) for name, of_name in runs.items() if EXPERIMENTS[name].folds},
        first_gradients={
            name: float(np.mean([run.gradient_norms[0]["conv1.weight"] for run in of_name]))
            for name, of_name in compared.items()
        },
    )


def extreme_images(by_image: pd.DataFrame) -> dict[str, pd.Series]:
    """Returns the best and the worst test image of the baseline by DSC, each with its mean scores over all runs."""
    means = by_image.loc["baseline"].xs("test", level="split").groupby("image", sort=False).mean()
    return {"best": means.loc[means["dsc"].idxmax()], "worst": means.loc[means["dsc"].idxmin()]}
