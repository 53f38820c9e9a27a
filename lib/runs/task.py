"""The task of a worker."""

import platform
import threading
import time
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from lib.data.dataset import Dataset, Fold
from lib.evaluation import evaluate
from lib.runs import store
from lib.runs.plan import Planned
from lib.training import Training, TrainingConfig, build_network, thread_count

Scores = dict[str, dict[str, Float64[Tensor, " image"]]]  # by split and metric


def score_snapshot(config: TrainingConfig, weights: dict[str, Tensor], dataset: Dataset) -> Scores:
    """Returns the scores of every image of a dataset by a network of given weights, as `evaluate` does."""
    network = build_network(config)
    network.load_state_dict(weights)
    with thread_count(config.threads):
        return {
            name: evaluate(network, torch.from_numpy(split.images), torch.from_numpy(split.masks))
            for name, split in dataset.splits.items()
        }


NO_PROBABILITY = "all elements of input should be between 0 and 1"  # torch's loss on an output that is not a number


class DivergedError(RuntimeError):
    """The loss of an epoch is not a number: which epoch, and what may help."""


def advance(training: Training, data: Dataset) -> None:
    """Trains one epoch; raises DivergedError if its loss is not a number."""
    cause = None
    try:
        training.advance(data.train.images, data.train.masks)
    except RuntimeError as error:
        if NO_PROBABILITY not in str(error):
            raise
        cause = error
    if cause or not all(weight.isfinite().all() for weight in training.network.parameters()):
        epoch = len(training.seconds) + (cause is not None)
        raise DivergedError(
            f"epoch {epoch}: expected a finite loss, found one that is not a number; "
            f"try a smaller LEARNING_RATE than {training.config.learning_rate:g}"
        ) from cause


def continue_run(
    dataset: Dataset | None, planned: Planned, state: bytes | None, code: tuple[str, str], seconds: float
) -> tuple[bytes, int, bool]:
    """The task of a worker: trains and scores one run from where it stands, for some seconds or to its end.

    Args:
        dataset: trained and scored on, or folded first; None for the one that the worker has.
        planned: the run.
        state: returned by the task before; None at the beginning.
        code: `store.training_code` and `store.scoring_code` of the process that asks.
        seconds: after which the task ends with the epoch or the scoring that it is at.

    Returns:
        The run's state, how many epochs it has trained, and whether nothing is left to do.

    Raises:
        RuntimeError: this worker has another version of the code or of torch.
        DivergedError: the loss of an epoch is not a number.
    """
    config = planned.config
    if code != (here := (store.training_code(config), store.scoring_code())):
        raise RuntimeError(f"worker on {platform.node()}: expected the code {code}, found {here}; install the same")
    with _one_at_a_time:
        data = _data(planned, dataset or _dataset)
        training = Training(config)
        scores: dict[int, Scores] = {}
        if state is not None:
            stored = store.from_bytes(state)
            training.load_state_dict(stored["training"])
            scores = stored["scores"] if stored["scored_by"] == code[1] else {}
        until = time.monotonic() + seconds
        while (unscored := training.snapshots.keys() - scores.keys()) or not training.finished:
            if unscored:
                epoch = min(unscored)
                scores[epoch] = score_snapshot(config, training.snapshots[epoch], data)
            else:
                advance(training, data)
            if time.monotonic() > until:
                break
        finished = training.finished and scores.keys() == training.snapshots.keys()
        payload = store.to_bytes({"training": training.state_dict(), "scores": scores, "scored_by": code[1]})
    return payload, len(training.seconds), finished


_one_at_a_time = threading.Lock()  # a Dask worker may have threads; initialisation and thread count are the process's
_dataset: Any = None  # in local workers, the dataset that they were given
_divided: tuple[Dataset, Fold, Dataset] | None = None  # the last fold: its tasks follow one another


def take_dataset(dataset: Dataset) -> None:
    """Keeps the dataset of the tasks that bring none."""
    global _dataset
    _dataset = dataset


def _data(planned: Planned, dataset: Dataset) -> Dataset:
    """Returns what a run is trained and scored on, and keeps a fold for its next task."""
    global _divided
    if planned.fold is None:
        return dataset
    if _divided is None or _divided[0] is not dataset or _divided[1] != planned.fold:
        _divided = dataset, planned.fold, planned.fold.of_dataset(dataset)
    return _divided[2]
