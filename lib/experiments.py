"""The variants of the study, their paired runs, and the store that keeps every finished run.

A run is one configuration trained on one dataset. It is trained once: notebooks and the report ask for the
same runs, and find them here.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm import tqdm

from lib.data import ROOT, Dataset, FailedRun, Split
from lib.training import History, TrainingConfig, as_tensors, build_network, evaluate, predict, train

STORE = Path(os.environ.get("REPORT_RUNS", ROOT / "data" / "runs"))


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
    """A finished run: its configuration, its learning curve, and the weights after its last epoch."""

    config: TrainingConfig
    history: History
    weights: dict[str, torch.Tensor]

    def network(self) -> nn.Module:
        """Returns the trained network."""
        network = build_network(self.config)
        network.load_state_dict(self.weights)
        return network

    def scores(self, split: Split) -> pd.DataFrame:
        """Returns the scores of the trained network, one row per image, one column for each of METRICS."""
        return pd.DataFrame(evaluate(self.network(), *as_tensors(split)), index=list(split.names))

    def probabilities(self, split: Split, name: str) -> np.ndarray:
        """Returns the foreground probability of each pixel of one image, float32 (height, width)."""
        images, _ = as_tensors(split)
        index = split.names.index(name)
        return predict(self.network(), images[index : index + 1])[0].numpy()


class TrainingError(FailedRun):
    """At least one run could not be finished; those that could are in the store."""


def variant_config(variant: str, seed: int, epochs: int, learning_rate: float) -> TrainingConfig:
    """Returns the configuration of one run; variants of one seed share initialisation and batch order."""
    spec = VARIANTS[variant]
    baseline = TrainingConfig(seed=seed, epochs=epochs * spec.epochs_factor, learning_rate=learning_rate)
    return replace(baseline, **spec.changes)


@cache
def _code_hash() -> str:
    """Hash of the code that decides a run's result, so that a changed loss or score is not served old runs."""
    sources = (ROOT / "lib" / f"{name}.py" for name in ("metrics", "models", "training"))
    return hashlib.sha256(b"\0".join(source.read_bytes() for source in sources)).hexdigest()


def store_path(config: TrainingConfig, dataset: Dataset) -> Path:
    """Returns where the run of a configuration on a dataset is or will be: named by a hash of all that decides it."""
    decisive = [asdict(config), dataset.sha256, _code_hash(), torch.__version__]
    return STORE / f"{hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]}.pt"


def _load(path: Path) -> Run:
    stored = torch.load(path, weights_only=True)
    return Run(TrainingConfig(**stored["config"]), History(**stored["history"]), stored["weights"])


def _is_whole(path: Path) -> bool:
    """Whether a finished run is there and can be read; says so and removes it if it is damaged."""
    try:
        _load(path)
    except FileNotFoundError:
        return False
    except Exception as error:  # whatever torch, zipfile and pickle raise for damaged files
        print(f"{path.name}: a damaged run, trained again ({type(error).__name__})", file=sys.stderr)
        path.unlink()
        return False
    return True


def _train_and_store(config: TrainingConfig, dataset: Dataset, path: Path) -> None:
    """Trains one run in a worker process; the file appears whole or not at all."""
    network, history = train(config, dataset.train, dataset.test, on_epoch=lambda: _finished_epochs.put(True))
    partial = path.with_suffix(f".{os.getpid()}.partial")
    torch.save({"config": asdict(config), "history": asdict(history), "weights": network.state_dict()}, partial)
    partial.replace(path)


def trained_runs(
    dataset: Dataset, variants: Sequence[str], seeds: int, epochs: int, learning_rate: float = 1e-3, workers: int = 1
) -> dict[str, list[Run]]:
    """Returns the runs of some variants, from the store where they are and trained where they are not.

    Args:
        dataset: trained and scored on.
        variants: keys of VARIANTS.
        seeds: runs a variant, with the seeds 0 .. seeds - 1.
        epochs: of the baseline; some variants train a multiple of it.
        learning_rate: of Adam.
        workers: processes that train at the same time, one thread each.

    Returns:
        For each variant its runs, in the order of their seeds.

    Raises:
        TrainingError: with the configuration and the cause of each run that failed, after all others ended.
    """
    plan = {
        variant: [variant_config(variant, seed, epochs, learning_rate) for seed in range(seeds)] for variant in variants
    }
    wanted = {store_path(config, dataset): config for configs in plan.values() for config in configs}
    _train_missing({path: config for path, config in wanted.items() if not _is_whole(path)}, dataset, workers)
    return {variant: [_load(store_path(config, dataset)) for config in configs] for variant, configs in plan.items()}


def _train_missing(missing: Mapping[Path, TrainingConfig], dataset: Dataset, workers: int) -> None:
    if not missing:
        return
    STORE.mkdir(parents=True, exist_ok=True)
    failures = []
    longest_first = sorted(missing.items(), key=lambda item: -item[1].epochs)
    total = sum(config.epochs for config in missing.values())
    with _worker_pool(min(workers, len(missing)), total) as (pool, progress):
        futures = {pool.submit(_train_and_store, config, dataset, path): config for path, config in longest_first}
        for done, future in enumerate(as_completed(futures), start=1):
            try:
                future.result()
            except BrokenProcessPool as error:
                raise TrainingError("a training process was killed; finished runs are kept, run again") from error
            except Exception as error:
                failures.append(f"{futures[future]}: {type(error).__name__}: {error}")
            progress.set_description(f"training: run {done} of {len(missing)} done")
    if failures:
        raise TrainingError("; ".join(failures))


# glibc returns each step's large buffers to the system, which zeroes them again for the next step: a third of
# the time of an epoch. A process reads these when it starts. Other allocators ignore them.
_WORKER_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**28),
    "OMP_NUM_THREADS": "1",
}


@contextmanager
def _worker_pool(workers: int, epochs: int) -> Iterator[tuple[ProcessPoolExecutor, "tqdm[Any]"]]:
    """Lends a pool of training processes, and a progress bar that counts the epochs they finish."""
    context = multiprocessing.get_context("spawn")
    finished = context.SimpleQueue()
    before = {name: os.environ.get(name) for name in _WORKER_ENVIRONMENT}
    os.environ.update(_WORKER_ENVIRONMENT)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(finished,))
    try:
        with tqdm(total=epochs, unit="epoch", desc="training", smoothing=0.05) as progress:

            def count() -> None:
                while finished.get():
                    progress.update()

            counter = threading.Thread(target=count, daemon=True)
            counter.start()
            yield pool, progress
            finished.put(False)
            counter.join()
    except BaseException:  # Ctrl-C above all: what is being trained now is given up at once
        pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _start_worker(finished: Any) -> None:
    """Runs first in each worker: ends it with its parent, and keeps the way to report epochs."""
    global _finished_epochs
    _finished_epochs = finished
    parent = multiprocessing.parent_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one

    def follow_parent() -> None:
        wait([parent.sentinel] if parent else [])
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()


_finished_epochs: Any = None  # in workers, the queue that tells the parent of every finished epoch


def image_scores(runs: Mapping[str, Sequence[Run]], dataset: Dataset) -> pd.DataFrame:
    """Returns the final scores image by image, from the weights that the store keeps.

    Returns:
        Indexed by variant, seed, split ("train" or "test") and image; one column for each of METRICS.
    """
    scores = {
        (variant, run.config.seed, name): run.scores(split)
        for variant, of_variant in runs.items()
        for run in of_variant
        for name, split in dataset.splits.items()
    }
    return pd.concat(scores, names=["variant", "seed", "split", "image"])


def mean_scores(by_image: pd.DataFrame) -> pd.DataFrame:
    """Returns the means over images of `image_scores`, indexed by variant, seed and split."""
    return by_image.groupby(["variant", "seed", "split"], sort=False).mean()
