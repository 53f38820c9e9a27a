"""Brings runs to their end: on the cores of this machine, or on the workers of a Dask scheduler.

A task continues a run for some seconds and returns its state, so that whatever happens to a worker, little is lost,
and workers need no disk in common with this process. Only this process writes to the store.
"""

import sys
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from lib._errors import FailedRun
from lib._files import lock, unlock
from lib.data.dataset import Dataset
from lib.runs import store
from lib.runs.plan import Planned, Request
from lib.runs.run import Run, stored_run
from lib.runs.workers import executor

SAVE_SECONDS = 30.0  # between two checkpoints of a run on disk
REPEATS = 2  # of a run whose worker died


class TrainingError(FailedRun):
    """At least one run could not be finished; those that could are in the store."""


@dataclass
class _Job:
    """A run to be finished, and how far it is."""

    folder: Path
    planned: Planned
    state: bytes | None = None
    epochs: int = 0
    finished: bool = False
    lock: int | None = None
    saved: float = 0.0  # when it was last on disk, on the monotonic clock
    deaths: int = 0  # of workers under it

    def claim(self) -> bool:
        """Locks the run and takes up what the store has of it; returns False where another process is at it."""
        if self.lock is not None:
            return True
        self.lock = lock(self.folder)
        if self.lock is None:
            return False
        run = store.read(self.folder / store.RUN, say=True)
        self.state = run or store.read(self.folder / store.CHECKPOINT, say=True)
        self.saved = time.monotonic()
        if self.state:
            stored = store.from_bytes(self.state)
            self.epochs = len(stored["training"]["seconds"])
            self.finished = run is not None and stored["scored_by"] == store.scoring_code()
        return True

    def save(self) -> None:
        """Writes the finished run, or a checkpoint."""
        if self.state is not None:
            store.write(self.folder, self.state, self.finished)
            self.saved = time.monotonic()

    def release(self) -> None:
        """Lets other processes have the run, and its memory go."""
        self.state = None
        if self.lock is not None:
            unlock(self.lock)
            self.lock = None


def finish_runs(planned: Mapping[Path, Planned], dataset: Dataset, workers: int) -> None:
    """Trains and scores runs until all are finished in the store, in their order.

    Args:
        planned: the runs, by their folders in the store.
        dataset: trained and scored on, or folded first.
        workers: processes of this machine; a Dask scheduler, where DASK_SCHEDULER_ADDRESS names one, has its own.

    Raises:
        TrainingError: with configuration and cause of each run that failed, after all others ended.
        UserError: the scheduler that DASK_SCHEDULER_ADDRESS names cannot be used.
    """
    if not planned:
        return
    jobs = list(map(_Job, planned.keys(), planned.values()))
    waiting, running, failures = deque(jobs), dict[Future[Any], _Job](), list[str]()
    progress = tqdm(total=sum(job.planned.config.epochs for job in jobs), unit="epoch", smoothing=0.1, leave=False)
    with progress, executor(dataset, min(workers, len(jobs))) as (submit, capacity):
        try:
            while waiting or running:
                for _ in range(min(len(waiting), capacity() - len(running))):
                    job = waiting.popleft()
                    before = job.epochs
                    if not job.claim():
                        waiting.append(job)
                        continue
                    progress.total = (progress.total or 0) - (job.epochs - before)  # that another process trained
                    if job.finished:
                        job.release()
                    else:
                        running[submit(job.planned, job.state)] = job
                told = f"{sum(job.finished for job in jobs)} of {len(jobs)} runs done"
                progress.set_description(f"training: {told}" if running else f"waiting for a worker: {told}")
                if not running:  # no worker is there, or other processes have what is left
                    time.sleep(0.5)
                for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    error = CancelledError() if future.cancelled() else future.exception()
                    if error is None:
                        before = job.epochs
                        job.state, job.epochs, job.finished = future.result()
                        progress.update(job.epochs - before)
                        if job.finished or time.monotonic() - job.saved > SAVE_SECONDS:
                            job.save()
                    elif isinstance(error, BrokenProcessPool | CancelledError) and job.deaths < REPEATS:
                        job.deaths += 1
                    else:
                        failures.append(f"{job.planned}\n{''.join(traceback.format_exception(error))}")
                        progress.write(f"failed, the others go on: {failures[-1]}", file=sys.stderr)
                        job.release()
                        continue
                    if job.finished:
                        job.release()
                    else:
                        waiting.appendleft(job)
        finally:
            for job in jobs:
                if job.lock is not None:  # Ctrl-C above all
                    try:
                        job.save()
                    finally:
                        job.release()
    if failures:
        raise TrainingError(f"{len(failures)} of {len(jobs)} runs, the first of them:\n{failures[0]}")


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


def report_runs(dataset: Dataset, request: Request) -> dict[str, dict[str, list[Run]]]:
    """Returns the runs that a report asks for, from the store or trained.

    Returns:
        By experiment (those of EXPERIMENTS that the request includes) and variant, in the order of their seeds.

    Raises:
        UserError: a full study was requested of data that cannot be divided into folds.
        TrainingError: with the configuration and the cause of each run that failed, after all others ended.
    """
    plans = request.plans(dataset)
    wanted = [  # experiment by experiment, so that a study that is cut off has finished its first ones
        planned
        for variants in plans.values()
        for planned in sorted(chain(*variants.values()), key=lambda planned: -planned.config.epochs)
    ]
    runs = finished(dataset, wanted, request.workers)
    return {
        experiment: {variant: [runs[planned] for planned in variant_plans] for variant, variant_plans in plan.items()}
        for experiment, plan in plans.items()
    }
