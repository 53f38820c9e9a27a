"""`make verify`: whether runs at hand reproduce the committed results of a full study."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from lib._errors import UserError, run_command
from lib._files import lock, unlock
from lib.claims.reference import TOLERANCE, compare, final_scores, find_reference, read_references
from lib.data.dataset import Dataset
from lib.runs import store

SAME_MACHINE = ("cpu", "instructions", "packages", "python", "threads", "precision")
GIVEN = ("DATASET", "SEEDS", "WORKERS", "STAIN", "SIZE", "TEST_FRACTION")  # what `make verify` takes


@contextmanager
def _empty_store(dataset: Dataset) -> Iterator[None]:
    """Lends a store without runs, but for those of a verification that was cut off: stored runs reproduce nothing."""
    usual, store.STORE = store.STORE, store.STORE / f"verify-{dataset.sha256[:16]}"
    held = lock(store.STORE)
    try:
        if held is None:
            raise UserError(f"{dataset.name}: expected to verify it alone, found another `make verify` at it")
        yield
        shutil.rmtree(store.STORE)
    finally:
        store.STORE = usual
        if held is not None:
            unlock(held)


def verify(arguments: Sequence[str]) -> bool:
    """Trains a quick report's runs as the reference of a dataset was trained, and prints what they reproduce."""
    from lib.report.parameters import parse_parameters
    from lib.report.provenance import machine
    from lib.report.results import variant_results
    from lib.runs.finish import report_runs
    from lib.runs.plan import can_train_in

    fixed = [argument for argument in arguments if argument.partition("=")[0] not in GIVEN]
    if fixed:
        raise UserError(f"{fixed[0]}: expected {', '.join(GIVEN)} only; all else is as the reference was trained")
    asked = parse_parameters(arguments)
    dataset: Dataset = asked.load()
    found = find_reference(dataset.sha256)
    if found is None or found[1]["provenance"]["dataset_sha256"] != dataset.sha256:
        known = ", ".join(read_references()) or "none"
        raise UserError(f"DATASET={asked.dataset}: expected the data of a reference ({known}), found other data")
    name, results = found
    theirs = results["parameters"]
    if asked.seeds > theirs["seeds"]:
        raise UserError(f"SEEDS={asked.seeds}: expected at most the reference's {theirs['seeds']}, found more")
    precision = theirs["precision"] if can_train_in(theirs["precision"]) else "fp32"
    same = {key: theirs[key] for key in ("epochs", "learning_rate")} | {"possible": False}
    parameters = asked.model_copy(update=same | {"precision": precision})
    ours = machine(parameters)
    other = [key for key in SAME_MACHINE if ours[key] != results["provenance"].get(key)]
    print(f"{asked.seeds} runs of each variant on {name}, against the {theirs['seeds']} of its reference.")
    print(
        f"Tolerance: {TOLERANCE} in the scores of a run, since these differ: {', '.join(other)}."
        if other
        else "Tolerance: none, since machine, versions and precision are the reference's."
    )
    with _empty_store(dataset):
        runs = report_runs(dataset, parameters.of_runs())["variants"]
    in_both = {variant: of_variant for variant, of_variant in runs.items() if variant in results["variants"]}
    table = compare(final_scores({"variants": variant_results(in_both)}), final_scores(results), bitwise=not other)
    shown = table.assign(reproduced=np.where(table["reproduced"], "reproduced", "NOT REPRODUCED"))
    print(shown.to_string(float_format="{:.4f}".format))
    print(f"{table['reproduced'].sum()} of {len(table)} runs reproduced.")
    return bool(table["reproduced"].all())


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code: 1 if a number is not reproduced."""
    return run_command(lambda: 0 if verify(arguments) else 1, "finished runs are kept.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
