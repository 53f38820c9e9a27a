"""The committed results of full runs."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from lib._files import ROOT
from lib.claims.evidence import SCORES
from lib.claims.verdicts import CLAIMS
from lib.data.dataset import Dataset
from lib.evaluation import METRICS

REFERENCES = ROOT / "reports" / "reference"
FALLBACK = "warwick"  # whose verdicts are shown beside those on other data: the study's own kind of images
TOLERANCE_LEVEL = 0.999  # of a tolerance; of 32 numbers of a report 3 in 100 would then have one outside it by chance


def read_references() -> dict[str, dict[str, Any]]:
    """Returns the committed results of full runs by the names of their datasets."""
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
    for known in CLAIMS:  # those that were added after it was made, too
        verdicts.setdefault(known.id, dict.fromkeys(SCORES, "not run"))
    same = results["provenance"]["dataset_sha256"] == dataset.sha256
    return {"name": name, "seeds": results["parameters"]["seeds"], "same_data": same, "verdicts": verdicts}


def final_scores(results: Mapping[str, Any]) -> pd.DataFrame:
    """Returns the final scores that a results.json holds: indexed by variant, split and metric, a column a seed."""
    return pd.DataFrame(
        {
            (variant, split, metric): {run["seed"]: run[split][metric] for run in of_name["runs"]}
            for variant, of_name in results["variants"].items()
            for split in ("train", "test")
            for metric in METRICS
        }
    ).T.rename_axis(["variant", "split", "metric"])


def compare(ours: pd.DataFrame, reference: pd.DataFrame, bitwise: bool) -> pd.DataFrame:
    """Returns for each number whether it is reproduced, and within which tolerance.

    Args:
        ours, reference: as `final_scores` gives them; the reference has at least two seeds.
        bitwise: whether single runs must be equal to the last bit. Otherwise the mean of ours must be within what other
            seeds would make of it: the TOLERANCE_LEVEL quantile of t times s sqrt(1 / n + 1 / N), s being the scatter
            of the reference's N runs and n the number of ours.

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
        quantile = stats.t.ppf((1 + TOLERANCE_LEVEL) / 2, n_reference - 1)
        table["tolerance"] = quantile * reference.std(axis=1) * np.sqrt(1 / n + 1 / n_reference)
        table["reproduced"] = (table["ours"] - table["reference"]).abs() <= table["tolerance"]
    return table
