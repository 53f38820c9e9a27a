"""The variants of the study and their paired runs.

A run is one configuration trained on one dataset. It is trained once: notebooks and the report ask for the
same runs, and find them in the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lib import store
from lib.data import Dataset, Split
from lib.engine import TrainingError, finish_runs
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


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        config: that it was trained with.
        seconds: training time of every epoch.
        snapshots: the weights after each scored epoch, the last of the run among them.
        scores: of every image after these epochs, by epoch, split and metric, float64 (image,).
    """

    config: TrainingConfig
    seconds: list[float]
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
    variant: str, seed: int, epochs: int, learning_rate: float = 1e-3, precision: Precision = "fp32"
) -> TrainingConfig:
    """Returns the configuration of one run; variants of one seed share initialisation and batch order."""
    spec = VARIANTS[variant]
    baseline = TrainingConfig(
        seed=seed, epochs=epochs * spec.epochs_factor, learning_rate=learning_rate, precision=precision
    )
    return replace(baseline, **spec.changes)


def stored_run(config: TrainingConfig, dataset: Dataset) -> Run | None:
    """Returns a finished run from the store, or None where it is not there or was scored by other code."""
    payload = store.read(store.folder_of(config, dataset) / store.RUN)
    state = store.from_bytes(payload) if payload else None
    if state is None or state["scored_by"] != store.scoring_code():
        return None
    return Run(config, state["training"]["seconds"], state["training"]["snapshots"], state["scores"])


def trained_runs(
    dataset: Dataset,
    variants: Sequence[str],
    seeds: int,
    epochs: int,
    learning_rate: float = 1e-3,
    precision: Precision = "fp32",
    workers: int = 1,
) -> dict[str, list[Run]]:
    """Returns the runs of some variants, from the store where they are and trained where they are not.

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
    plan = {
        variant: [variant_config(variant, seed, epochs, learning_rate, precision) for seed in range(seeds)]
        for variant in variants
    }
    wanted = [config for configs in plan.values() for config in configs]
    runs = {config: run for config in wanted if (run := stored_run(config, dataset))}
    missing = [config for config in wanted if config not in runs]
    finish_runs({store.folder_of(config, dataset): config for config in missing}, dataset, workers)
    for config in missing:
        if (run := stored_run(config, dataset)) is None:
            raise TrainingError(f"{config}: finished, and gone from the store or scored by other code since")
        runs[config] = run
    return {variant: [runs[config] for config in configs] for variant, configs in plan.items()}


def image_scores(runs: Mapping[str, Sequence[Run]], dataset: Dataset) -> pd.DataFrame:
    """Returns the final scores image by image.

    Returns:
        Indexed by variant, seed, split ("train" or "test") and image; one column for each of METRICS.
    """
    scores = {
        (variant, run.config.seed, name): pd.DataFrame(run.scores[run.config.epochs][name], index=list(split.names))
        for variant, of_variant in runs.items()
        for run in of_variant
        for name, split in dataset.splits.items()
    }
    return pd.concat(scores, names=["variant", "seed", "split", "image"])


def mean_scores(by_image: pd.DataFrame) -> pd.DataFrame:
    """Returns the means over images of `image_scores`, indexed by variant, seed and split."""
    return by_image.groupby(["variant", "seed", "split"], sort=False).mean()


def extreme_images(by_image: pd.DataFrame) -> dict[str, pd.Series]:
    """Returns the best and the worst test image of the baseline by DSC, each with its mean scores over all runs."""
    means = by_image.loc["baseline"].xs("test", level="split").groupby("image", sort=False).mean()
    return {"best": means.loc[means["dsc"].idxmax()], "worst": means.loc[means["dsc"].idxmin()]}
