"""`make verify`: the committed results of full studies, and whether runs at hand reproduce them.

Exit code 0 if every number is reproduced, 1 if one is not, 2 after a user's mistake.
"""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lib import store
from lib.data import ROOT, Dataset, FailedRun, UserError

REFERENCES = ROOT / "reports" / "reference"
FALLBACK = "warwick"  # whose verdicts are shown beside those on other data: the study's own kind of images
SAME_MACHINE = ("cpu", "packages", "python", "platform", "threads", "precision")
LEVEL = 0.999  # of a tolerance; of 32 numbers of a report 3 in 100 would then have one outside it by chance
GIVEN = ("DATASET", "SEEDS", "WORKERS", "STAIN", "SIZE", "TEST_FRACTION")  # what `make verify` takes
METRICS = ("dsc", "dice", "iou", "loss")


def read_references() -> dict[str, dict[str, Any]]:
    """Returns the committed results of full studies by the names of their datasets."""
    return {path.parent.name: json.loads(path.read_text()) for path in sorted(REFERENCES.glob("*/results.json"))}


def find_reference(dataset_sha256: str) -> tuple[str, dict[str, Any]] | None:
    """Returns the name and the content of the reference of a dataset, of FALLBACK where it has none, or None."""
    found = read_references()
    for name, results in found.items():
        if results["provenance"]["dataset_sha256"] == dataset_sha256:
            return name, results
    return (FALLBACK, found[FALLBACK]) if FALLBACK in found else None


def reference_for(dataset: Dataset) -> dict[str, Any] | None:
    """Returns what a report tells of its reference: its "name", "seeds", "same_data" and "verdicts"."""
    found = find_reference(dataset.sha256)
    if found is None:
        return None
    name, results = found
    verdicts: dict[str, dict[str, str]] = {}
    for claim in results["claims"]:
        verdicts.setdefault(claim["id"], {})[claim["metric"]] = claim["verdict"]
    same = results["provenance"]["dataset_sha256"] == dataset.sha256
    return {"name": name, "seeds": results["parameters"]["seeds"], "same_data": same, "verdicts": verdicts}


def final_scores(results: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the final scores that a results.json holds: indexed by variant, split and metric, a column a seed."""
    return pd.DataFrame(
        {
            (variant, split, metric): {run["seed"]: run[split][metric] for run in of_variant["runs"]}
            for variant, of_variant in results["variants"].items()
            for split in ("train", "test")
            for metric in METRICS
        }
    ).T.rename_axis(["variant", "split", "metric"])


def compare(ours: pd.DataFrame, reference: pd.DataFrame, bitwise: bool) -> pd.DataFrame:
    """Returns for each number whether it is reproduced, and within which tolerance.

    Args:
        ours, reference: as `final_scores` gives them; the reference has at least two seeds.
        bitwise: whether single runs must be equal to the last bit. Otherwise the mean of ours must be within what other
            seeds would make of it: the LEVEL quantile of t times s sqrt(1 / n + 1 / N), s being the scatter of the
            reference's N runs and n the number of ours.

    Returns:
        Indexed as the arguments, with columns ours, reference (means over runs), tolerance, reproduced.
    """
    n, n_reference = ours.shape[1], reference.shape[1]
    reference = reference.loc[ours.index]
    theirs = reference[ours.columns] if bitwise else reference
    table = pd.DataFrame({"ours": ours.mean(axis=1), "reference": theirs.mean(axis=1)})
    if bitwise:
        table["tolerance"], table["reproduced"] = 0.0, (ours == theirs).all(axis=1)
    else:
        quantile = stats.t.ppf((1 + LEVEL) / 2, n_reference - 1)
        table["tolerance"] = quantile * reference.std(axis=1) * np.sqrt(1 / n + 1 / n_reference)
        table["reproduced"] = (table["ours"] - table["reference"]).abs() <= table["tolerance"]
    return table


@contextmanager
def _empty_store(dataset: Dataset) -> Iterator[None]:
    """Lends a store without runs, but for those of a verification that was cut off: stored runs reproduce nothing."""
    usual, store.STORE = store.STORE, store.STORE / f"verify-{dataset.sha256[:16]}"
    try:
        yield
        shutil.rmtree(store.STORE)
    finally:
        store.STORE = usual


def verify(arguments: Sequence[str]) -> bool:
    """Trains a quick report's runs as the reference of a dataset was trained, and prints what they reproduce."""
    from lib.experiments import trained_runs
    from lib.report import can_train_in, machine, parse_parameters, variant_results

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
    same = {key: theirs[key] for key in ("epochs", "learning_rate")}
    parameters = asked.model_copy(update=same | {"precision": precision})
    ours = machine(parameters)
    other = [key for key in SAME_MACHINE if ours[key] != results["provenance"][key]]
    print(f"{asked.seeds} runs of each variant on {name}, against the {theirs['seeds']} of its reference.")
    print(
        f"Tolerance: the scatter of the reference's runs, since these differ: {', '.join(other)}."
        if other
        else "Tolerance: none, since machine, versions and precision are the reference's."
    )
    with _empty_store(dataset):
        runs = trained_runs(
            dataset, tuple(results["variants"]), **{k: v for k, v in parameters.of_runs().items() if k != "study"}
        )
    table = compare(
        final_scores({"variants": variant_results(runs, dataset)}), final_scores(results), bitwise=not other
    )
    shown = table.assign(reproduced=np.where(table["reproduced"], "reproduced", "NOT REPRODUCED"))
    print(shown.to_string(float_format="{:.4f}".format))
    print(f"{table['reproduced'].sum()} of {len(table)} numbers reproduced.")
    return bool(table["reproduced"].all())


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    try:
        return 0 if verify(arguments) else 1
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: finished runs are kept.", file=sys.stderr)
        return 130
    except (FailedRun, OSError) as error:
        print(f"failed: {error}; finished runs are kept.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
