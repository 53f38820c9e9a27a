"""The processes that train: those of this machine, or the workers of a Dask scheduler."""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from multiprocessing import connection
from typing import Any, Protocol, runtime_checkable

import psutil

from lib._errors import FailedRun, UserError
from lib.data.dataset import Dataset
from lib.runs import store
from lib.runs.plan import Planned
from lib.runs.task import continue_run, take_dataset

TASK_SECONDS = 5.0  # that a task trains before it hands back its state
PIPE_SECONDS = 1.0  # for a pool to see that its process has ended, which takes milliseconds
# glibc returns each step's large buffers to the system, which zeroes them again for the next step: a third of
# the time of an epoch. A process reads these when it starts. Other allocators ignore them.
WORKER_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(2**32),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**28),
    "OMP_NUM_THREADS": "1",
}


def _task(dataset: Any, planned: Planned, state: bytes | None) -> tuple[Any, ...]:
    """Returns the arguments of `continue_run` for the next task of a run."""
    seconds = TASK_SECONDS * max(1.0, len(state or b"") / 1e6)  # handing back a large state takes its time too
    return dataset, planned, state, (store.training_code(planned.config), store.scoring_code()), seconds


@runtime_checkable
class Workers(Protocol):
    """Processes that continue runs, one task each at a time.

    Attributes:
        patience: seconds after which it is given up that a first worker comes.
    """

    patience: float

    def capacity(self) -> int:
        """Returns how many tasks can be at work at once."""

    def start(self, planned: Planned, state: bytes | None) -> Future[Any]:
        """Continues a run in a free worker; raises OSError if there is none and no process can be started."""

    def cpu_seconds(self, task: Future[Any]) -> float | None:
        """Returns the processor time of the worker at a task so far; None where that is not known."""

    def stop(self, task: Future[Any]) -> None:
        """Ends a task, which then counts as one whose worker died."""


class LocalWorkers:
    """Processes of this machine with one thread each; one that died is replaced when the next task starts.

    Each is a pool of its own: a death is then known to be that of one task.
    """

    patience = 60.0

    def __init__(self, workers: int, dataset: Dataset) -> None:
        self._workers, self._dataset = workers, dataset
        self._idle: list[ProcessPoolExecutor] = []
        self._busy: dict[Future[Any], ProcessPoolExecutor] = {}

    def capacity(self) -> int:
        return self._workers

    def start(self, planned: Planned, state: bytes | None) -> Future[Any]:
        return self.submit(continue_run, *_task(None, planned, state))

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Runs a function in an idle or a new process; its future raises BrokenProcessPool if the process dies."""
        for done in [future for future in self._busy if future.done()]:
            self._idle.append(self._busy.pop(done))
        while True:
            pool = self._idle.pop() if self._idle else self._new_process()
            try:
                future = pool.submit(function, *arguments)
            except BrokenProcessPool:  # it died after its last task
                _kill(pool)
                continue
            self._busy[future] = pool
            return future

    def _new_process(self) -> ProcessPoolExecutor:
        """Returns a new pool of one process that has the dataset and was started with WORKER_ENVIRONMENT."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, mp_context=context, initializer=_follow_parent)
        # Ctrl-C reaches all processes; the parent ends this one, which inherits that it is deaf to the signal.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            with environment(WORKER_ENVIRONMENT):
                pool.submit(take_dataset, self._dataset)  # as a task: starting the process need not wait for it
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pool

    def cpu_seconds(self, task: Future[Any]) -> float | None:
        with suppress(psutil.Error):
            return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in self._busy[task]._processes or {})
        return None

    def stop(self, task: Future[Any]) -> None:
        _kill(self._busy[task])

    def close(self) -> None:
        """Ends all processes, in the middle of their tasks if they have any."""
        pools = *self._idle, *self._busy.values()
        for pool in pools:  # all first: each may take a moment to be seen to have ended
            _end_process(pool)
        for pool in pools:
            _kill(pool)
            pool.shutdown(cancel_futures=True)


def _end_process(pool: ProcessPoolExecutor) -> None:
    """Ends the process of a pool; one that was stopped by a signal would not end by a gentler one."""
    for process in list((pool._processes or {}).values()):  # Python 3.14 has pool.kill_workers()
        process.kill()


def _kill(pool: ProcessPoolExecutor) -> None:
    """Ends the process of a pool, and sees to it that the pool does not wait for it."""
    _end_process(pool)
    manager: Any = pool._executor_manager_thread
    if manager is None:
        return
    manager.join(PIPE_SECONDS)
    if manager.is_alive():
        # It waits for ever for the rest of a result that the process was sending; or, before Python 3.11.5 (Debian 12
        # has 3.11.2), to write what nobody will read. Not closed before: two threads might close one number twice.
        pool._call_queue._reader.close()  # type: ignore[attr-defined]
        pool._result_queue._writer.close()  # type: ignore[attr-defined]


def _follow_parent() -> None:
    """Sees to it that a process ends with its parent, even where that is killed."""
    parent = multiprocessing.parent_process()

    def follow() -> None:
        connection.wait([parent.sentinel] if parent else [])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


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


def local_workers(workers: int, dataset: Dataset) -> AbstractContextManager[LocalWorkers]:
    """Lends processes of this machine; they end with the block."""
    return closing(LocalWorkers(workers, dataset))


class DaskWorkers:
    """The workers of a Dask scheduler.

    Each is sent the data for itself, and keeps its tasks, so that the loss of one concerns no other: one that was to
    get the data from another that died may wait for them for ever, while the scheduler believes that it has them.
    """

    patience = 600.0

    def __init__(self, client: Any, dataset: Dataset) -> None:
        self._client, self._dataset = client, dataset
        self._known: dict[str, tuple[Any, Any]] = {}  # by address: what submits to a worker, and the data it has
        self._busy: dict[Future[Any], str] = {}  # tasks, by the address of their worker

    def capacity(self) -> int:
        addresses = self._addresses()
        for task, address in list(self._busy.items()):
            if address not in addresses:
                task.cancel()  # otherwise it waits for that worker to come back
            if task.done():
                del self._busy[task]
        return len(addresses)

    def _addresses(self) -> list[str]:
        try:
            return list(self._client.nthreads())
        except OSError as error:
            raise FailedRun(f"the Dask scheduler is gone ({error}); the same command goes on with the runs") from None

    def start(self, planned: Planned, state: bytes | None) -> Future[Any]:
        tasks = Counter(self._busy.values())
        address = min(self._addresses(), key=lambda address: tasks[address], default="")
        if not address:
            raise RuntimeError("no worker is there")
        if address not in self._known:
            data = self._client.scatter(self._dataset, workers=[address], hash=False)
            self._known[address] = self._client.get_executor(pure=False, workers=[address]), data
        executor, data = self._known[address]
        task: Future[Any] = executor.submit(continue_run, *_task(data, planned, state))
        self._busy[task] = address
        return task

    def cpu_seconds(self, task: Future[Any]) -> float | None:  # noqa: ARG002
        return None

    def stop(self, task: Future[Any]) -> None:
        task.cancel()


@contextmanager
def lend_workers(dataset: Dataset, workers: int) -> Iterator[Workers]:
    """Lends the workers of the scheduler that DASK_SCHEDULER_ADDRESS names, or else processes of this machine.

    Raises:
        UserError: the scheduler cannot be used.
    """
    address = os.environ.get("DASK_SCHEDULER_ADDRESS")
    if not address:
        with local_workers(workers, dataset) as local:
            yield local
        return
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
    try:
        yield DaskWorkers(client, dataset)
    finally:
        client.close(timeout=2)
