"""The variants of the study, the experiments made of them, and the runs that these take."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from lib._errors import UserError
from lib.data.dataset import Dataset, Fold
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

    def data(self, dataset: Dataset) -> Dataset:
        """Returns what the run is trained and scored on."""
        return self.fold.of_dataset(dataset) if self.fold else dataset

    def folder(self, dataset: Dataset) -> Path:
        """Returns the run's folder in the store."""
        return store.folder_of(self.config, dataset, self.fold)


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
    "longer": Variant("Baseline, longer", {}, epochs_factor=2),  # for as long as dropout: one run with the baseline
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
}


def variant_config(
    variant: str | Variant, seed: int, epochs: int, learning_rate: float = 1e-3, precision: Precision = "fp32"
) -> TrainingConfig:
    """Returns the configuration of one run; variants of one seed share initialisation and batch order."""
    spec = VARIANTS[variant] if isinstance(variant, str) else variant
    baseline = TrainingConfig(
        seed=seed, epochs=epochs * spec.epochs_factor, learning_rate=learning_rate, precision=precision
    )
    return replace(baseline, **spec.changes)


@dataclass(frozen=True, kw_only=True)
class Request:
    """The runs that a report asks for.

    Attributes:
        seeds: runs of each variant, with the seeds 0 .. seeds - 1.
        epochs: of the baseline; some variants train a multiple of it.
        learning_rate: of Adam.
        precision: of the convolutions in training.
        workers: processes that train at the same time, one thread each.
        full: whether all EXPERIMENTS are wanted, and not "variants" alone.
    """

    seeds: int
    epochs: int
    learning_rate: float = 1e-3
    precision: Precision = "fp32"
    workers: int = 1
    full: bool = False

    def plans(self, dataset: Dataset) -> dict[str, dict[str, list[Planned]]]:
        """Returns the runs on a dataset by experiment and variant.

        Raises:
            UserError: all EXPERIMENTS are wanted of training images that cannot be divided into folds.
        """
        if self.full and not Fold("train", 0).count(dataset):
            raise UserError(
                f"{dataset.name}: expected training images of two patients or more for the folds of a full study, "
                "found one; `make report` needs no folds"
            )
        possible = {  # with few patients there are fewer folds
            name: replace(experiment, folds=tuple(f for f in experiment.folds if f.index < f.count(dataset)))
            for name, experiment in EXPERIMENTS.items()
            if self.full or name == "variants"
        }
        return {name: plan(experiment, self) for name, experiment in possible.items()}


def comparator(variant: str, variants: Collection[str]) -> str:
    """Returns which of some variants another is compared with: the baseline trained as long, if it is among them.

    Otherwise a difference would be one of variant and training time together.
    """
    longer = VARIANTS["longer"].epochs_factor
    as_long = variant in VARIANTS and variant != "longer" and VARIANTS[variant].epochs_factor == longer
    return "longer" if as_long and "longer" in variants else "baseline"


def plan(experiment: Experiment, request: Request) -> dict[str, list[Planned]]:
    """Returns the runs of each variant of an experiment.

    No two folds share a seed, so that their training noise is independent. Every run has a snapshot at the baseline's
    last epoch; in folds, at multiples of it only. Variants that differ in their epochs alone are one run.
    """
    places = [fold for fold in experiment.folds or (None,) for _ in range(experiment.seeds or request.seeds)]
    configs = {
        name: _with_snapshots(
            variant_config(variant, 0, request.epochs, request.learning_rate, request.precision),
            request.epochs,
            bool(experiment.folds),
        )
        for name, variant in experiment.variants.items()
    }
    return {
        name: [_planned(config, configs.values(), seed, fold) for seed, fold in enumerate(places)]  # a seed for each
        for name, config in configs.items()
    }


def _with_snapshots(config: TrainingConfig, epoch: int, rarely: bool) -> TrainingConfig:
    """Returns a configuration with a snapshot at an epoch, and rarely or about as often as usual beside it."""
    divisors = [n for n in range(1, config.snapshot_every + 1) if epoch % n == 0]
    return replace(config, snapshot_every=epoch if rarely else max(divisors))


def _planned(config: TrainingConfig, others: Iterable[TrainingConfig], seed: int, fold: Fold | None) -> Planned:
    """Returns the run of a configuration as part of the longest run that differs from it in epochs alone."""
    longest = max(other.epochs for other in others if replace(config, epochs=other.epochs) == other)
    until = config.epochs if config.epochs < longest else None
    return Planned(replace(config, epochs=longest, seed=seed), fold, until)
