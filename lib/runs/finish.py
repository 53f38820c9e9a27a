"""Brings runs to their end: on the cores of this machine, or on the workers of a Dask scheduler.

A task continues a run for some seconds and returns its state, so that whatever happens to a worker, little is lost,
and workers need no disk in common with this process. Only this process writes to the store.
"""

import os
import sys
import time
import traceback
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from tqdm import tqdm

from lib._errors import FailedRun
from lib._files import lock, unlock
from lib.data.dataset import Dataset
from lib.runs import store
from lib.runs.plan import Planned, Request
from lib.runs.run import Run, checked_state, is_finished, stored_run
from lib.runs.task import DivergedError
from lib.runs.workers import Workers, lend_workers

SAVE_SECONDS = 30.0  # between two checkpoints of a run on disk
REPEATS = 2  # of a run whose worker died
IDLE_LIMIT = 300.0  # seconds in which a worker of this machine that is at a task may use no processor time
TASK_LIMIT = 3600.0  # seconds for one task, which takes five or one epoch, on any worker ...
PIXEL_LIMIT = 1e-4  # ... and seconds more for each pixel of the data: a hundred times what an epoch takes
ONLY_STORED = "REPORT_RUNS_ARE_STORED"  # environment variable, set once a command has trained: train nothing more
WORD_SECONDS = 60.0  # between two lines that say that nothing moves


class TrainingError(FailedRun):
    """At least one run could not be finished; those that could are in the store."""


@dataclass
class _Job:
    """A run to be finished, and how far it is.

    Attributes:
        state: as its last task left it, or the store has it.
        saved: when it was last on disk, on the monotonic clock.
        deaths: of workers at it.
        cpu_seconds: processor time of the worker that is at it.
        idle: for how many seconds that has not grown.
        at_work: for how many seconds its task has been at work.
    """

    folder: Path
    planned: Planned
    state: bytes | None = None
    epochs: int = 0
    finished: bool = False
    lock: FileLock | None = None
    saved: float = 0.0
    deaths: int = 0
    cpu_seconds: float | None = None
    idle: float = 0.0
    at_work: float = 0.0

    def claim(self) -> bool:
        """Locks the run and takes up what the store has of it; returns False where another process is at it."""
        if self.lock is not None:
            return True
        self.lock = lock(self.folder)
        if self.lock is None:
            return False
        self.saved = time.monotonic()
        for name in (store.RUN, store.CHECKPOINT):
            try:
                payload = store.read(self.folder / name)
                state = payload and checked_state(payload, self.planned.config)
            except store.UnusableError as error:
                store.set_aside(self.folder / name, error)
                continue
            if state:
                self.state, self.epochs = payload, len(state["training"]["seconds"])
                self.finished = name == store.RUN and is_finished(state, self.planned.config)
                break
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

    def close(self) -> None:
        """Saves and releases a run that is not done with."""
        if self.lock is not None:
            try:
                self.save()
            finally:
                self.release()


class _Loop:
    """Brings jobs to their end on workers, and sees to it that what does not move ends."""

    def __init__(self, jobs: Sequence[_Job], dataset: Dataset, workers: Workers, progress: Any) -> None:
        self.jobs, self.workers, self.progress = jobs, workers, progress
        self.waiting, self.running, self.failed = deque(jobs), dict[Future[Any], _Job](), list[str]()
        pixels = sum(split.masks.size for split in dataset.splits.values())
        self.task_limit = TASK_LIMIT + PIXEL_LIMIT * pixels
        self.still = 0.0  # seconds since a run last moved
        self.alone = 0.0  # seconds for which no worker has been there
        self.cause: Exception | None = None  # why the last process could not be started

    def run(self) -> None:
        looked = time.monotonic()
        while self.waiting or self.running:
            self.start_tasks()
            done = sum(job.finished for job in self.jobs)
            doing = "training" if self.running else "waiting for a worker"
            self.progress.set_description(f"{doing}: {done} of {len(self.jobs)} runs done")
            if not self.running:  # no worker is there, or other processes have what is left
                time.sleep(0.5)
            for task in wait(self.running, timeout=1, return_when=FIRST_COMPLETED).done:
                self.take_result(task, self.running.pop(task))
            now = time.monotonic()
            self.watch(min(now - looked, 2.0))  # who was stopped himself blames no one for that time
            looked = now

    def start_tasks(self) -> None:
        """Starts tasks of waiting runs while there are workers for them."""
        capacity = self.workers.capacity()
        self.cause = None if capacity else self.cause
        for _ in range(min(len(self.waiting), capacity - len(self.running))):
            job = self.waiting.popleft()
            before = job.epochs
            if not job.claim():
                self.waiting.append(job)
                continue
            self.progress.total -= job.epochs - before  # that another process trained
            if job.finished:
                job.release()
                self.still = 0.0
                continue
            try:
                task = self.workers.start(job.planned, job.state)
            except (OSError, RuntimeError) as error:  # the machine has no process or no thread left
                self.waiting.appendleft(job)
                self.cause = error
                return
            self.running[task] = job
            job.cpu_seconds, job.idle, job.at_work = None, 0.0, 0.0

    def take_result(self, task: Future[Any], job: _Job) -> None:
        """Takes up what a task has come to; a run whose worker died is tried again, REPEATS times."""
        error = CancelledError() if task.cancelled() else task.exception()
        lost = isinstance(error, BrokenProcessPool | CancelledError)
        if error is None:
            before = job.epochs
            job.state, job.epochs, job.finished = task.result()
            self.progress.update(job.epochs - before)
            self.still = 0.0
            if job.finished or time.monotonic() - job.saved > SAVE_SECONDS:
                job.save()
        elif lost and job.deaths < REPEATS:
            job.deaths += 1
        else:
            if lost:
                cause = f"its worker died or stood still {REPEATS + 1} times; is there memory enough for it?"
            elif isinstance(error, DivergedError):
                cause = str(error)
            else:
                cause = "\n" + "".join(traceback.format_exception(error))
            self.failed.append(f"{job.planned}: {cause}")
            self.say(f"failed, the others go on: {self.failed[-1]}")
            job.release()
            return
        if job.finished:
            job.release()
        else:
            self.waiting.appendleft(job)

    def watch(self, seconds: float) -> None:
        """Counts for how long nothing has moved: says so every minute, and ends what has reached its limit.

        Raises:
            FailedRun: no worker has been there for as long as `workers.patience`.
        """
        before = self.still
        self.still += seconds
        for task, job in self.running.items():
            used = self.workers.cpu_seconds(task)
            if used is not None and used != job.cpu_seconds:
                job.cpu_seconds, job.idle, self.still = used, 0.0, 0.0
            elif used is not None:
                job.idle += seconds
            job.at_work += seconds
            if job.idle > IDLE_LIMIT or job.at_work > self.task_limit:
                self.say(f"{job.planned}: its worker does not move; it is ended")
                self.workers.stop(task)
                job.idle, job.at_work = 0.0, 0.0
        without = not self.running and (self.cause is not None or not self.workers.capacity())
        self.alone = self.alone + seconds if without else 0.0
        missing = f"no process can be started ({self.cause})" if self.cause else "no worker is there"
        if self.alone > self.workers.patience:
            raise FailedRun(f"{missing}, for {self.workers.patience:.0f} seconds; the same command continues the runs")
        if self.still // WORD_SECONDS > before // WORD_SECONDS:
            others = "a worker does not move" if self.running else "other processes have the runs that are left"
            self.say(f"nothing has moved for {self.still / 60:.0f} min: {missing if without else others}")

    def say(self, line: str) -> None:
        """Writes a line above the bar of the progress."""
        self.progress.write(line, file=sys.stderr)


def finish_runs(planned: Mapping[Path, Planned], dataset: Dataset, workers: int) -> None:
    """Trains and scores runs until all are finished in the store, in their order.

    Args:
        planned: the runs, by their folders in the store.
        dataset: trained and scored on, or folded first.
        workers: processes of this machine; a Dask scheduler, where DASK_SCHEDULER_ADDRESS names one, has its own.

    Raises:
        TrainingError: with configuration and cause of each run that failed, after all others ended.
        FailedRun: no worker is there, and none came for a while.
        UserError: the scheduler that DASK_SCHEDULER_ADDRESS names cannot be used.
    """
    if not planned:
        return
    jobs = list(map(_Job, planned.keys(), planned.values()))
    progress = tqdm(total=sum(job.planned.config.epochs for job in jobs), unit="epoch", smoothing=0.1, leave=False)
    with ExitStack() as closing, progress:
        for job in jobs:
            closing.callback(job.close)  # each of them, whatever becomes of the others: a disk may be full
        with lend_workers(dataset, min(workers, len(jobs))) as lent:
            loop = _Loop(jobs, dataset, lent, progress)
            loop.run()
    if loop.failed:
        raise TrainingError(f"{len(loop.failed)} of {len(jobs)} runs, the first of them:\n{loop.failed[0]}")


def finished(dataset: Dataset, wanted: Iterable[Planned], workers: int) -> dict[Planned, Run]:
    """Returns runs from the store where they are, and trained, in their order, where they are not.

    Raises:
        TrainingError: with the configuration and the cause of each run that failed, after all others ended.
    """
    runs = {planned: stored_run(planned, dataset) for planned in wanted}
    missing = [planned for planned, run in runs.items() if run is None]
    if missing and os.environ.get(ONLY_STORED):
        raise TrainingError(f"{missing[0]}: expected in the store, where the command put it, found nothing usable")
    finish_runs({planned.folder(dataset): planned for planned in missing}, dataset, workers)
    runs |= {planned: stored_run(planned, dataset) for planned in missing}
    for planned, run in runs.items():
        if run is None:
            raise TrainingError(f"{planned}: finished, and gone from the store or scored by other code since")
    return cast(dict[Planned, Run], runs)


def _turn(planned: Planned) -> tuple[int, int]:
    """Returns what the runs of an experiment are sorted by: division by division, and the longest first."""
    return (planned.fold.repeat if planned.fold else 0), -planned.config.epochs


def report_runs(
    dataset: Dataset, request: Request, plans: Mapping[str, Mapping[str, Sequence[Planned]]] | None = None
) -> dict[str, dict[str, list[Run]]]:
    """Returns the runs that a report asks for, from the store or trained.

    They are trained experiment by experiment, so that a study that is cut off has finished its first ones. `plans` are
    those of the request, where they are known.

    Returns:
        By experiment (those of EXPERIMENTS that the request includes) and variant, in the order of their seeds.

    Raises:
        UserError: a full study was requested of data that cannot be divided into folds.
        TrainingError: with the configuration and the cause of each run that failed, after all others ended.
    """
    plans = plans or request.plans(dataset)
    wanted = [planned for variants in plans.values() for planned in sorted(chain(*variants.values()), key=_turn)]
    runs = finished(dataset, wanted, request.workers)
    return {
        experiment: {variant: [runs[planned] for planned in variant_plans] for variant, variant_plans in plan.items()}
        for experiment, plan in plans.items()
    }
