"""The variants of the study, the experiments made of them, and the runs that these take."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from lib._errors import UserError
from lib.data.dataset import Dataset, Fold
from lib.recipe import Recipe
from lib.runs import store
from lib.training import Precision, TrainingConfig


class Planned(NamedTuple):
    """A run that is wanted.

    Attributes:
        config: that it is trained with. fold: of the dataset, None for its own splits.
        until: the epoch at which it is wanted, one of those with a snapshot; None for the last.
    """

    config: TrainingConfig
    fold: Fold | None = None
    until: int | None = None

    def folder(self, dataset: Dataset) -> Path:
        """Returns the run's folder in the store."""
        return store.folder_of(self.config, dataset, self.fold)


@dataclass(frozen=True)
class Variant:
    """One row of a comparison: a name to print, and what differs from the baseline."""

    label: str
    changes: Mapping[str, Any]  # of TrainingConfig, or of the kind of configuration that it is
    epochs_factor: float = 1  # times the baseline's epochs
    kind: type[TrainingConfig] = TrainingConfig


# A variant is one line here; tables, comparison and results.json take it up by themselves.
VARIANTS: dict[str, Variant] = {
    "baseline": Variant("Baseline", {}),
    "noise": Variant("Noise", {"noise_std": 0.03}),
    "longer": Variant("Baseline, longer", {}, epochs_factor=2),  # for as long as dropout: one run with the baseline
    "dropout": Variant("Dropout", {"network": "dropout_CNN_segment"}, epochs_factor=2),
    "l2": Variant("L2", {"l2": 5e-5}),
}
# What claims on settings compare with them, on new patients alone.
SETTINGS: dict[str, Variant] = {
    "two dropouts": Variant("Two dropouts, p = 0.2", {"network": "two_dropouts_CNN_segment"}, epochs_factor=2),
    "dropout 0.5": Variant("Dropout, as the baseline", {"network": "dropout_CNN_segment"}),  # cut from "dropout"
    **{f"l2 {value:g}": Variant(f"L2, {value:g}", {"l2": value}) for value in (5e-6, 5e-4, 5e-3)},
}
_SEARCHED_ONLY: dict[str, Variant] = {
    **{f"noise {std:g}": Variant(f"Noise, {std:g}", {"noise_std": std}) for std in (0.01, 0.1)},
    **{
        f"dropout {p:g}": Variant(f"Dropout, {p:g}", {"network": "dropout_CNN_segment", "dropout": p})
        for p in (0.25, 0.75)
    },
}
# The values among which the study's own was chosen "after trial and error", or might have been, and their variants.
# All train for as many epochs as the baseline, so that 0 is the baseline.
SEARCHED: dict[str, dict[float, str]] = {
    "noise_std": {0.0: "baseline", 0.01: "noise 0.01", 0.03: "noise", 0.1: "noise 0.1"},
    "dropout": {0.0: "baseline", 0.25: "dropout 0.25", 0.5: "dropout 0.5", 0.75: "dropout 0.75"},
    "l2": {0.0: "baseline", 5e-6: "l2 5e-06", 5e-5: "l2", 5e-4: "l2 0.0005", 5e-3: "l2 0.005"},
}


def _unet(label: str, epochs_factor: float = 1, **changes: Any) -> Variant:
    """Returns a step of the ladder from the study's network to today's."""
    return Variant(label, {"network": "UNet", **changes}, epochs_factor, Recipe)


_AUGMENTED = {"normalized": True, "augmentation": 0.6}  # the strength was chosen on folds of the training images
_LOSS = {**_AUGMENTED, "dice_loss": 1.0}
_SCHEDULED = {**_LOSS, "one_cycle": True, "weight_decay": 0.01, "learning_rate": 2e-3, "batch_size": 4}
_LONGER = 8 / 3  # times the baseline's epochs, chosen likewise
_SCALES = (0.75, 0.875, 1.125, 1.25)  # chosen likewise
# From the study's network to one of today, each step with all that is above it.
LADDER: dict[str, Variant] = {
    "baseline": VARIANTS["baseline"],
    "depth": _unet("Depth and skip connections"),
    "normalization": _unet("Batch normalization", normalized=True),
    "augmentation": _unet("Augmentation", **_AUGMENTED),
    "loss": _unet("Dice loss", **_LOSS),
    "longer": _unet("Longer training", _LONGER, **_LOSS),  # no other step may take its merit
    "schedule": _unet("Schedule", _LONGER, **_SCHEDULED),
    "scales": _unet("Averaging over scales and turns", _LONGER, **_SCHEDULED, scales=_SCALES),
}
POSSIBLE: dict[str, Variant] = {"possible": replace(LADDER["scales"], label="U-Net")}


@dataclass(frozen=True)
class Experiment:
    """Variants that are compared on the same data.

    Attributes:
        variants: by their keys.
        seeds: runs of each variant on the dataset's own splits in a full run, and one in a quick one; 0 is as many as
            the report asks for.
        folds: which images are divided, in place of the dataset's own splits.
        repeats: of the division; 0 is as many as the report asks for.
        full: whether it is part of a full run alone.
    """

    variants: Mapping[str, Variant]
    seeds: int = 0
    folds: Literal["train", "all"] | None = None
    repeats: int = 0
    full: bool = True


# What a full study trains, in this order: the seeds' question is answered first, then that of new patients.
EXPERIMENTS: dict[str, Experiment] = {
    "possible": Experiment(POSSIBLE, seeds=5, full=False),  # the longest runs first, so that no core waits at the end
    "variants": Experiment(VARIANTS, full=False),
    "deeper": Experiment(
        {"deeper": Variant("Deeper network", {"network": "deeper_CNN_segment", "snapshot_every": 20})}
    ),
    "new patients": Experiment({**VARIANTS, **SETTINGS}, folds="all"),
    "searches": Experiment(_SEARCHED_ONLY, folds="all", repeats=2),  # for a figure, on which no verdict rests
    "ladder": Experiment(LADDER, folds="train", repeats=1),
}
REPEATS = 8  # of the division into folds: with 2 an interval has 3 degrees of freedom, from 4 on it is of use


def variant_config(
    variant: str | Variant, seed: int, epochs: int, learning_rate: float = 1e-3, precision: Precision = "fp32"
) -> TrainingConfig:
    """Returns the configuration of one run; variants of one seed share initialisation and batch order.

    A `Recipe` trains in bf16 wherever the CPU has it, since only then does it end in minutes.
    """
    spec = VARIANTS[variant] if isinstance(variant, str) else variant
    if spec.kind is Recipe and can_train_in("bf16"):
        precision = "bf16"
    baseline = spec.kind(
        seed=seed, epochs=round(epochs * spec.epochs_factor), learning_rate=learning_rate, precision=precision
    )
    return replace(baseline, **spec.changes)


def can_train_in(precision: Precision) -> bool:
    """Returns whether this CPU has instructions for a precision; without them bf16 is many times as slow as fp32."""
    return precision == "fp32" or torch.cpu._is_avx512_bf16_supported()


@dataclass(frozen=True, kw_only=True)
class Request:
    """The runs that a report asks for.

    Attributes:
        seeds: runs of each variant, with the seeds 0 .. seeds - 1.
        epochs: of the baseline; some variants train a multiple of it.
        learning_rate: of Adam.
        precision: of the convolutions in training.
        workers: processes that train at the same time, one thread each.
        full: whether all EXPERIMENTS are wanted, and not only those of a quick report.
        repeats: of the divisions into folds, in a full run; 0 leaves them out.
        possible: whether the network of today is wanted: one run, in a full one five and the ladder.
    """

    seeds: int
    epochs: int
    learning_rate: float = 1e-3
    precision: Precision = "fp32"
    workers: int = 1
    full: bool = False
    repeats: int = REPEATS
    possible: bool = False

    def plans(self, dataset: Dataset) -> dict[str, dict[str, list[Planned]]]:
        """Returns the runs on a dataset by experiment and variant.

        Raises:
            UserError: all EXPERIMENTS are wanted of images that cannot be divided into folds.
        """
        if self.full and self.repeats and not Fold("train", 0).count(dataset):
            raise UserError(
                f"{dataset.name}: expected training images of two patients or more for the folds of a full study, "
                "found one; `make report` needs no folds"
            )
        wanted = {
            name
            for name, experiment in EXPERIMENTS.items()
            if (self.full or not experiment.full)
            and (self.repeats or not experiment.folds)
            and (self.possible or name not in ("possible", "ladder"))
        }
        return {name: self.plan(experiment, dataset) for name, experiment in EXPERIMENTS.items() if name in wanted}

    def plan(self, experiment: Experiment, dataset: Dataset) -> dict[str, list[Planned]]:
        """Returns the runs of each variant of an experiment.

        No two folds share a seed, so that their training noise is independent. Every run has a snapshot at the
        baseline's last epoch; in folds, at multiples of it only. Variants that differ in epochs alone are one run.
        """
        places: list[Fold | None]
        if experiment.folds:
            count = Fold(experiment.folds, 0).count(dataset)  # with few patients there are fewer
            repeats = min(self.repeats, experiment.repeats or self.repeats)
            places = [Fold(experiment.folds, i, repeat=r) for r in range(repeats) for i in range(count)]
        else:
            fixed = min(experiment.seeds, self.seeds) if self.full else 1
            places = [None] * (fixed if experiment.seeds else self.seeds)
        configs = {key: self._config(variant, bool(experiment.folds)) for key, variant in experiment.variants.items()}
        return {
            key: [_planned(config, configs.values(), seed, fold) for seed, fold in enumerate(places)]
            for key, config in configs.items()
        }

    def _config(self, variant: Variant, in_folds: bool) -> TrainingConfig:
        """Returns a variant's configuration with a snapshot at the baseline's last epoch, and others where wanted."""
        config = variant_config(variant, 0, self.epochs, self.learning_rate, self.precision)
        if variant.kind is Recipe:  # whose score takes as long as its training of several epochs
            return replace(config, snapshot_every=config.epochs)
        divisors = [n for n in range(1, config.snapshot_every + 1) if self.epochs % n == 0]
        return replace(config, snapshot_every=self.epochs if in_folds else max(divisors))


def comparator(variant: str, variants: Collection[str]) -> str:
    """Returns which of some variants another is compared with: the baseline trained as long, if it is among them.

    Otherwise a difference would be one of variant and training time together.
    """
    longer = VARIANTS["longer"].epochs_factor
    as_long = variant in VARIANTS and variant != "longer" and VARIANTS[variant].epochs_factor == longer
    return "longer" if as_long and "longer" in variants else "baseline"


def _planned(config: TrainingConfig, others: Iterable[TrainingConfig], seed: int, fold: Fold | None) -> Planned:
    """Returns the run of a configuration as part of the longest run that differs from it in epochs alone."""
    longest = max(other.epochs for other in others if replace(config, epochs=other.epochs) == other)
    until = config.epochs if config.epochs < longest else None
    return Planned(replace(config, epochs=longest, seed=seed), fold, until)
