"""The committed results of full runs."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lib._files import ROOT
from lib.claims.evidence import SCORES
from lib.data.dataset import Dataset
from lib.evaluation import METRICS

REFERENCES = ROOT / "reports" / "reference"
FALLBACK = "warwick"  # whose verdicts are shown beside those on other data: the study's own kind of images
TOLERANCE = 0.005  # of a run's scores on another machine, where one seed's runs differ by about 0.002


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
    """Returns what a report tells of its reference: its "name", "seeds", "divisions", "same_data" and verdicts.

    Verdicts are by claim and score: "verdicts" on other patients, "verdicts_seeds" on its images; None where it was not
    judged by seeds.
    """
    found = find_reference(dataset.sha256)
    if found is None:
        return None
    name, results = found
    told: dict[str, Any] = {
        "name": name,
        "seeds": results["parameters"]["seeds"],
        "divisions": results["parameters"]["repeats"],
        "same_data": results["provenance"]["dataset_sha256"] == dataset.sha256,
        "verdicts": {},
        "verdicts_seeds": {},
    }
    for claim in results["claims"]:
        for place, key in (("verdicts", "verdict"), ("verdicts_seeds", "verdict_seeds")):
            told[place].setdefault(claim["id"], {})[claim["metric"]] = claim[key]
    return told


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
    """Returns for each run whether it is reproduced: compared with the reference's run of the same variant and seed.

    Args:
        ours, reference: as `final_scores` gives them; the reference has our variants and seeds.
        bitwise: whether each number must be equal to the last bit. Otherwise the root mean square of the differences in
            loss and SCORES on both splits must be within TOLERANCE, that of the differences from the baseline of the
            same seed as well, and a variant must not be the baseline to the last bit where the reference's is not.

    Returns:
        Indexed by variant and seed, with columns scores and contrast (root mean squares), tolerance, reproduced.
    """
    reference = reference.loc[ours.index, ours.columns]
    rows = {}
    for variant in ours.index.unique("variant"):
        for seed in ours.columns:
            mine, theirs = (table[seed].xs(variant) for table in (ours, reference))
            shift, their_shift = (table[seed].xs(variant) - table[seed].xs("baseline") for table in (ours, reference))
            scores, contrast = _distance(mine, theirs), _distance(shift, their_shift)
            applied = bool(shift.any()) or not their_shift.any()
            within = max(scores, contrast) <= TOLERANCE and applied
            rows[variant, seed] = {
                "scores": scores,
                "contrast": contrast,
                "tolerance": 0.0 if bitwise else TOLERANCE,
                "reproduced": bool((mine == theirs).all()) if bitwise else within,
            }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["variant", "seed"])


def _distance(ours: pd.Series, theirs: pd.Series) -> float:
    """Returns the root mean square of the differences in loss and SCORES, over splits."""
    differences = (ours - theirs)[ours.index.get_level_values("metric").isin(["loss", *SCORES])]
    return float(np.sqrt((differences**2).mean()))
