"""Some variants of the study, trained on a tiny dataset."""

from collections.abc import Sequence
from itertools import chain

from lib.data.dataset import Dataset
from lib.runs.finish import finished
from lib.runs.plan import VARIANTS, Experiment, Request, plan
from lib.runs.run import Run


def trained_runs(
    dataset: Dataset, variants: Sequence[str], seeds: int, epochs: int, learning_rate: float = 1e-3, workers: int = 1
) -> dict[str, list[Run]]:
    """Returns the runs of some variants in the order of their seeds, from the store or trained."""
    plans = plan(
        Experiment({v: VARIANTS[v] for v in variants}), Request(seeds=seeds, epochs=epochs, learning_rate=learning_rate)
    )
    runs = finished(dataset, chain(*plans.values()), workers)
    return {variant: [runs[planned] for planned in variant_plans] for variant, variant_plans in plans.items()}
