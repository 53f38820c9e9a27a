"""Brings runs to their end: on the cores of this machine, or on the workers of a Dask scheduler.

A task continues a run for some seconds and returns its state, so that whatever happens to a worker, little is lost,
and workers need no disk in common with this process. Only this process writes to the store.
"""

import multiprocessing
import os
import platform
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from lib import store
from lib.data import Dataset, FailedRun, Fold, UserError
from lib.evaluation import Scores, score_snapshot
from lib.training import Training, TrainingConfig

TASK_SECONDS = 5.0  # that a task trains before it hands back its state
SAVE_SECONDS = 30.0  # between two checkpoints of a run on disk
REPEATS = 2  # of a run whose worker died

# glibc returns each step's large buffers to the system, which zeroes them again for the next step: a third of
# the time of an epoch. A process reads these when it starts. Other allocators ignore them.
WORKER_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**28),
    "OMP_NUM_THREADS": "1",
}


class Planned(NamedTuple):
    """A run that is wanted: its configuration, and the fold of the dataset, or None for its own splits."""

    config: TrainingConfig
    fold: Fold | None = None

    def data(self, dataset: Dataset) -> Dataset:
        """Returns what the run is trained and scored on."""
        return self.fold.of_dataset(dataset) if self.fold else dataset

    def folder(self, dataset: Dataset) -> Path:
        """Returns the run's folder in the store."""
        return store.folder_of(self.config, dataset, self.fold)


class TrainingError(FailedRun):
    """At least one run could not be finished; those that could are in the store."""


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
    """
    if code != (here := (store.training_code(), store.scoring_code())):
        raise RuntimeError(f"worker on {platform.node()}: expected the code {code}, found {here}; install the same")
    config, data = planned.config, planned.data(dataset or _dataset)
    with _one_at_a_time:
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
                training.advance(data.train.images, data.train.masks)
            if time.monotonic() > until:
                break
        finished = training.finished and scores.keys() == training.snapshots.keys()
        payload = store.to_bytes({"training": training.state_dict(), "scores": scores, "scored_by": code[1]})
    return payload, len(training.seconds), finished


_one_at_a_time = threading.Lock()  # a Dask worker may have threads; initialisation and thread count are the process's


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
        self.lock = store.lock(self.folder)
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
            store.unlock(self.lock)
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
    with progress, _executor(dataset, min(workers, len(jobs))) as (submit, capacity):
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


class LocalWorkers(Executor):
    """Processes of one thread, each in a pool of its own: a death is then known to be that of one task.

    `submit` waits until a process is free.
    """

    def __init__(self, workers: int, dataset: Dataset) -> None:
        self._dataset = dataset
        self._pools: list[ProcessPoolExecutor] = []
        self._idle: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put(self._pool())

    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, mp_context=context, initializer=_follow_parent)
        # Ctrl-C reaches all processes; the parent ends this one, which inherits that it is deaf to the signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            pool.submit(_take_dataset, self._dataset)  # as a task: starting the process need not wait for it
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._pools.append(pool)
        return pool

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Runs a function in a free process; its future raises BrokenProcessPool if the process dies."""
        pool = self._idle.get()
        try:
            future = pool.submit(fn, *args, **kwargs)
        except BrokenProcessPool:  # it died after its last task
            pool = self._pool()
            future = pool.submit(fn, *args, **kwargs)

        def free(future: Future[Any]) -> None:
            died = not future.cancelled() and isinstance(future.exception(), BrokenProcessPool)
            self._idle.put(self._pool() if died else pool)

        future.add_done_callback(free)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends all processes, in the middle of their tasks if they have any."""
        for pool in self._pools:
            for process in list((pool._processes or {}).values()):  # Python 3.14 has pool.terminate_workers()
                process.terminate()
            pool.shutdown(wait, cancel_futures=cancel_futures)


def _take_dataset(dataset: Dataset) -> None:
    global _dataset
    _dataset = dataset


def _follow_parent() -> None:
    """Sees to it that a process ends with its parent, even where that is killed."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        connection.wait([parent.sentinel] if parent else [])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


_dataset: Any = None  # in local workers, the dataset that they were given

Submit = Callable[[Planned, bytes | None], Future[Any]]


@contextmanager
def _executor(dataset: Dataset, workers: int) -> Iterator[tuple[Submit, Callable[[], int]]]:
    """Lends a function that continues a run somewhere, and one that tells how many of them can go on at once."""
    code = store.training_code(), store.scoring_code()

    def seconds(state: bytes | None) -> float:
        return TASK_SECONDS * max(1.0, len(state or b"") / 1e6)  # handing back a large state takes its time too

    if address := os.environ.get("DASK_SCHEDULER_ADDRESS"):
        with _dask(address) as (client, scattered):
            executor = client.get_executor(pure=False)
            yield (
                lambda planned, state: executor.submit(
                    continue_run, scattered(dataset), planned, state, code, seconds(state)
                ),
                lambda: len(client.nthreads()),
            )
        return
    with local_workers(workers, dataset) as local:
        yield (
            lambda planned, state: local.submit(continue_run, None, planned, state, code, seconds(state)),
            lambda: workers,
        )


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for the duration of the block; processes that start in it take them over."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def local_workers(workers: int, dataset: Dataset) -> Iterator[LocalWorkers]:
    """Lends processes that have the dataset and started with WORKER_ENVIRONMENT; they end with the block."""
    with environment(WORKER_ENVIRONMENT), LocalWorkers(workers, dataset) as executor:
        yield executor


@contextmanager
def _dask(address: str) -> Iterator[tuple[Any, Callable[[Dataset], Any]]]:
    """Connects to a scheduler, which itself repeats the tasks of workers that die.

    Lends the client, and a function that sends a dataset to the workers once, and again if all who had it are gone.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UserError("DASK_SCHEDULER_ADDRESS: expected the package distributed, found none; see README") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise UserError(f"DASK_SCHEDULER_ADDRESS={address}: expected a running scheduler, found: {error}") from None
    held: list[Any] = []

    def scattered(dataset: Dataset) -> Any:
        if not held or held[0].status != "finished":
            held[:] = [client.scatter(dataset, broadcast=True)]
        return held[0]

    with client:
        yield client, scattered
