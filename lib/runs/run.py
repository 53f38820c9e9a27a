"""A finished run, as the store keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from lib._errors import reason
from lib.data.dataset import Dataset, Fold, Split
from lib.evaluation import METRICS, predict
from lib.runs import store
from lib.runs.plan import Planned
from lib.training import Training, TrainingConfig, build_network


@dataclass
class History:
    """The learning curve of a run: scores in `eval()` mode on clean images, and the training time per epoch.

    Attributes:
        epochs: the epochs after which both splits were scored; the last is the last of the run.
        train, test: for each of METRICS, the mean over images at each of these epochs.
        seconds: training time of every epoch, scoring not included, in seconds.
    """

    epochs: list[int]
    train: dict[str, list[float]]
    test: dict[str, list[float]]
    seconds: list[float]


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

    def until(self, epoch: int) -> "Run":
        """Returns the run as it was after an epoch with a snapshot: that of a run with so many epochs."""
        return replace(
            self,
            config=replace(self.config, epochs=epoch),
            seconds=self.seconds[:epoch],
            gradient_norms=self.gradient_norms[:epoch],
            snapshots={at: weights for at, weights in self.snapshots.items() if at <= epoch},
            scores={at: scores for at, scores in self.scores.items() if at <= epoch},
        )

    def network(self) -> nn.Module:
        """Returns the trained network."""
        network = build_network(self.config)
        network.load_state_dict(self.weights)
        return network

    def probabilities(self, split: Split, name: str) -> np.ndarray:
        """Returns the foreground probability of each pixel of one image, float32 (height, width)."""
        image, _ = split.pair(name)
        return predict(self.network(), torch.from_numpy(image[None]))[0].numpy()


def checked_state(payload: bytes, config: TrainingConfig) -> dict[str, Any]:
    """Returns the state of a run as `lib.runs.task.continue_run` leaves it.

    Raises:
        UnusableError: the bytes are no state of a run of this configuration.
    """
    try:
        state = store.from_bytes(payload)
        training = Training(config)
        training.load_state_dict(state["training"])
        shapes = {name: value.shape for name, value in training.network.state_dict().items()}
        for epoch, weights in training.snapshots.items():
            if {name: value.shape for name, value in weights.items()} != shapes:
                raise ValueError(f"snapshot {epoch} is of another network")
        trained = len(training.seconds)
        due = {e for e in range(1, trained + 1) if e % config.snapshot_every == 0 or e == config.epochs}
        if trained > config.epochs or training.snapshots.keys() != due or not state["scores"].keys() <= due:
            raise ValueError(f"{trained} epochs with the snapshots {sorted(training.snapshots)}")
        if not isinstance(state["scored_by"], str):
            raise TypeError("nobody scored it")
    except Exception as error:  # torch and pickle raise many kinds, as the bytes have it
        raise store.UnusableError(f"no state of this run ({' '.join(reason(error).split())[:100]})") from error
    return cast(dict[str, Any], state)


def stored_run(planned: Planned, dataset: Dataset) -> Run | None:
    """Returns a finished run from the store, or None where it is not there, unusable, or scored by other code."""
    try:
        payload = store.read(planned.folder(dataset) / store.RUN)
        state = payload and checked_state(payload, planned.config)
    except store.UnusableError:
        return None
    if not state or not is_finished(state, planned.config):
        return None
    seconds, norms, snapshots = (state["training"][name] for name in ("seconds", "gradient_norms", "snapshots"))
    run = Run(planned.config, planned.fold, seconds, norms, snapshots, state["scores"])
    return run.until(planned.until) if planned.until else run


def is_finished(state: Mapping[str, Any], config: TrainingConfig) -> bool:
    """Returns whether a checked state is that of a run that is trained to its end and scored by today's code."""
    scored = (
        state["scored_by"] == store.scoring_code() and state["scores"].keys() == state["training"]["snapshots"].keys()
    )
    return scored and len(state["training"]["seconds"]) == config.epochs
