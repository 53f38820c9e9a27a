"""Some variants of the study, trained on a tiny dataset, in this process where it does not matter in which."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import chain

from lib.data.dataset import Dataset
from lib.runs import store
from lib.runs.finish import finished
from lib.runs.plan import VARIANTS, Experiment, Request
from lib.runs.run import Run
from lib.runs.task import continue_run


def trained_runs(
    dataset: Dataset, variants: Sequence[str], seeds: int, epochs: int, learning_rate: float = 1e-3, workers: int = 1
) -> dict[str, list[Run]]:
    """Returns the runs of some variants in the order of their seeds, from the store or trained."""
    request = Request(seeds=seeds, epochs=epochs, learning_rate=learning_rate)
    plans = request.plan(Experiment({v: VARIANTS[v] for v in variants}), dataset)
    runs = finished(dataset, chain(*plans.values()), workers)
    return {variant: [runs[planned] for planned in variant_plans] for variant, variant_plans in plans.items()}


class HereWorkers:
    """In place of `lib.runs.workers.LocalWorkers`: runs each task at once in this process."""

    patience = 60.0

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def capacity(self) -> int:
        return 1

    def start(self, planned, state) -> Future:
        task = Future()
        try:
            code = store.training_code(planned.config), store.scoring_code()
            task.set_result(continue_run(self.dataset, planned, state, code, seconds=60))
        except Exception as error:
            task.set_exception(error)
        return task

    def cpu_seconds(self, task) -> None:
        return None

    def stop(self, task) -> None:
        task.cancel()


@contextmanager
def lend_this_process(dataset: Dataset, workers: int) -> Iterator[HereWorkers]:
    yield HereWorkers(dataset)
