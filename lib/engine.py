"""Brings runs to their end: on the cores of this machine, or on the workers of a Dask scheduler.

A task continues a run for some seconds and returns its state, so that whatever happens to a worker, little is lost,
and workers need no disk in common with this process. Only this process writes to the store.
"""

import multiprocessing
import os
import platform
import queue
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lib import store
from lib.data import Dataset, FailedRun, UserError
from lib.evaluation import evaluate
from lib.training import Training, TrainingConfig, build_network, thread_count

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


class TrainingError(FailedRun):
    """At least one run could not be finished; those that could are in the store."""


def continue_run(
    dataset: Dataset | None, config: TrainingConfig, state: bytes | None, code: tuple[str, str], seconds: float
) -> tuple[bytes, int, bool]:
    """The task of a worker: trains and scores one run from where it stands, for some seconds or to its end.

    Args:
        dataset: trained and scored on; None for the one that the worker was started with.
        config: of the run.
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
    data = dataset or _dataset
    training = Training(config)
    scores: dict[int, Any] = {}
    if state is not None:
        stored = store.from_bytes(state)
        training.load_state_dict(stored["training"])
        scores = stored["scores"] if stored["scored_by"] == code[1] else {}
    until = time.monotonic() + seconds
    while (unscored := training.snapshots.keys() - scores.keys()) or not training.finished:
        if unscored:
            epoch = min(unscored)
            scores[epoch] = _score(config, training.snapshots[epoch], data)
        else:
            training.advance(data.train.images, data.train.masks)
        if time.monotonic() > until:
            break
    finished = training.finished and scores.keys() == training.snapshots.keys()
    payload = store.to_bytes({"training": training.state_dict(), "scores": scores, "scored_by": code[1]})
    return payload, len(training.seconds), finished


def _score(config: TrainingConfig, weights: dict[str, torch.Tensor], dataset: Dataset) -> dict[str, Any]:
    """Returns the scores of every image, by split and metric."""
    network = build_network(config)
    network.load_state_dict(weights)
    with thread_count(config.threads):
        return {
            name: evaluate(network, torch.from_numpy(split.images), torch.from_numpy(split.masks))
            for name, split in dataset.splits.items()
        }


@dataclass
class _Job:
    """A run to be finished, and how far it is."""

    folder: Path
    config: TrainingConfig
    state: bytes | None = None
    epochs: int = 0
    finished: bool = False
    lock: int | None = None
    saved: float = 0.0  # when a checkpoint was last written, on the monotonic clock
    deaths: int = 0  # of workers under it

    def claim(self) -> bool:
        """Locks the run and takes up what the store has of it; returns False where another process is at it."""
        self.lock = store.lock(self.folder)
        if self.lock is None:
            return False
        run = store.read(self.folder / store.RUN)
        self.state = run or store.read(self.folder / store.CHECKPOINT)
        self.saved = time.monotonic()
        if self.state:
            stored = store.from_bytes(self.state)
            self.epochs = len(stored["training"]["seconds"])
            self.finished = run is not None and stored["scored_by"] == store.scoring_code()
        return True

    def save(self, name: str) -> None:
        """Writes the state, if there is one."""
        if self.state is not None:
            store.write(self.folder / name, self.state)
            self.saved = time.monotonic()

    def keep(self) -> None:
        """Writes the finished run, or a checkpoint if the last is old."""
        if self.finished:
            self.save(store.RUN)
            (self.folder / store.CHECKPOINT).unlink(missing_ok=True)
            self.release()
        elif time.monotonic() - self.saved > SAVE_SECONDS:
            self.save(store.CHECKPOINT)

    def release(self) -> None:
        """Lets other processes have the run."""
        if self.lock is not None:
            store.unlock(self.lock)
            self.lock = None


def finish_runs(configs: Mapping[Path, TrainingConfig], dataset: Dataset, workers: int) -> None:
    """Trains and scores runs until all are finished in the store.

    Args:
        configs: of the runs, by their folders in the store.
        dataset: trained and scored on.
        workers: processes of this machine; a Dask scheduler, where DASK_SCHEDULER_ADDRESS names one, has its own.

    Raises:
        TrainingError: with configuration and cause of each run that failed, after all others ended.
        UserError: the scheduler that DASK_SCHEDULER_ADDRESS names cannot be used.
    """
    if not configs:
        return
    jobs = sorted(map(_Job, configs.keys(), configs.values()), key=lambda job: -job.config.epochs)
    waiting = deque(jobs)
    running: dict[Future[Any], _Job] = {}
    failures: list[str] = []
    code = store.training_code(), store.scoring_code()
    progress = tqdm(total=sum(job.config.epochs for job in jobs), unit="epoch", smoothing=0.1, leave=False)
    with progress, _executor(dataset, min(workers, len(jobs))) as (executor, data, capacity):

        def submit(job: _Job) -> None:
            running[executor.submit(continue_run, data, job.config, job.state, code, TASK_SECONDS)] = job

        try:
            while waiting or running:
                progress.set_description(f"training: {sum(job.finished for job in jobs)} of {len(jobs)} runs done")
                for _ in range(min(len(waiting), capacity() - len(running))):
                    job = waiting.popleft()
                    if not job.claim():
                        waiting.append(job)
                        continue
                    progress.total = (progress.total or 0) - job.epochs  # that another process trained
                    if job.finished:
                        job.release()
                    else:
                        submit(job)
                if not running:  # other processes have what is left, or no worker is there
                    time.sleep(0.5)
                for future in wait(running, timeout=1, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    error = future.exception()
                    if error is None:
                        before = job.epochs
                        job.state, job.epochs, job.finished = future.result()
                        progress.update(job.epochs - before)
                        job.keep()
                        if not job.finished:
                            submit(job)
                    elif isinstance(error, BrokenProcessPool) and job.deaths < REPEATS:
                        job.deaths += 1
                        submit(job)
                    else:
                        failures.append(f"{job.config}\n{''.join(traceback.format_exception(error))}")
                        job.release()
        finally:  # Ctrl-C above all
            for job in running.values():
                job.save(store.CHECKPOINT)
                job.release()
    if failures:
        raise TrainingError(f"{len(failures)} of {len(jobs)} runs:\n" + "\n".join(failures))


class LocalWorkers(Executor):
    """Processes of one thread, each in a pool of its own: a death is then known to be that of one task.

    `submit` waits until a process is free.
    """

    def __init__(self, workers: int, dataset: Dataset) -> None:
        self._dataset = dataset
        self._idle: queue.SimpleQueue[ProcessPoolExecutor] = queue.SimpleQueue()
        for _ in range(workers):
            self._idle.put(self._pool())

    def _pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker, initargs=(self._dataset,))

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

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002
        """Ends all processes, in the middle of their tasks if they have any."""
        for process in multiprocessing.active_children():
            process.terminate()
            process.join()


def _start_worker(dataset: Dataset) -> None:
    """Runs first in each process: keeps the data, and sees to it that the process ends with its parent."""
    global _dataset
    _dataset = dataset
    parent = multiprocessing.parent_process()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one

    def follow_parent() -> None:
        connection.wait([parent.sentinel] if parent else [])
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()


_dataset: Any = None  # in local workers, the dataset that they were started with


@contextmanager
def _executor(dataset: Dataset, workers: int) -> Iterator[tuple[Executor, Any, Callable[[], int]]]:
    """Lends an executor, what stands for the dataset in its tasks, and a function that tells how many run at once."""
    if address := os.environ.get("DASK_SCHEDULER_ADDRESS"):
        with _dask(address, dataset) as lent:
            yield lent
        return
    before = {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}
    os.environ.update(WORKER_ENVIRONMENT)  # processes take it over when they start
    try:
        with LocalWorkers(workers, dataset) as executor:
            yield executor, None, lambda: workers
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@contextmanager
def _dask(address: str, dataset: Dataset) -> Iterator[tuple[Executor, Any, Callable[[], int]]]:
    """Connects to a scheduler, which repeats the tasks of workers that die by itself."""
    try:
        from distributed import Client
    except ImportError:
        raise UserError("DASK_SCHEDULER_ADDRESS: expected the package distributed, found none; see README") from None
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise UserError(f"DASK_SCHEDULER_ADDRESS={address}: expected a running scheduler, found: {error}") from None
    with client:
        client.wait_for_workers(1)
        data = client.scatter(dataset, broadcast=True)
        yield client.get_executor(pure=False), data, lambda: sum(client.nthreads().values())
