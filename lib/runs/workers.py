"""The processes that train: those of this machine, or the workers of a Dask scheduler."""

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any

from lib._errors import UserError
from lib.data.dataset import Dataset
from lib.runs import store
from lib.runs.plan import Planned
from lib.runs.task import continue_run, take_dataset

TASK_SECONDS = 5.0  # that a task trains before it hands back its state
# glibc returns each step's large buffers to the system, which zeroes them again for the next step: a third of
# the time of an epoch. A process reads these when it starts. Other allocators ignore them.
WORKER_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**28),
    "OMP_NUM_THREADS": "1",
}


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
            pool.submit(take_dataset, self._dataset)  # as a task: starting the process need not wait for it
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


def _follow_parent() -> None:
    """Sees to it that a process ends with its parent, even where that is killed."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        connection.wait([parent.sentinel] if parent else [])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


Submit = Callable[[Planned, bytes | None], Future[Any]]


@contextmanager
def executor(dataset: Dataset, workers: int) -> Iterator[tuple[Submit, Callable[[], int]]]:
    """Lends a function that continues a run somewhere, and one that tells how many of them can go on at once."""
    code = store.training_code(), store.scoring_code()

    def seconds(state: bytes | None) -> float:
        return TASK_SECONDS * max(1.0, len(state or b"") / 1e6)  # handing back a large state takes its time too

    if address := os.environ.get("DASK_SCHEDULER_ADDRESS"):
        with _dask(address) as (client, scattered):
            submitting = client.get_executor(pure=False)
            yield (
                lambda planned, state: submitting.submit(
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
    with environment(WORKER_ENVIRONMENT), LocalWorkers(workers, dataset) as pool:
        yield pool


@contextmanager
def _dask(address: str) -> Iterator[tuple[Any, Callable[[Dataset], Any]]]:
    """Connects to a scheduler, which itself repeats the tasks of workers that die.

    Lends the client, and a function that sends a dataset to the workers once, and again if all who had it are gone.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UserError(
            "DASK_SCHEDULER_ADDRESS: expected the package distributed, found none; see docs/cluster.md"
        ) from None
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
