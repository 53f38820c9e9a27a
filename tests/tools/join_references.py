"""One reference from two full runs: `python tests/tools/join_references.py SEEDS DIVISIONS [--out FOLDER]`.

The two questions are answered by runs that have nothing in common: that of other seeds by those on the given splits,
that of other patients by those in divisions into folds. So a full run of many seeds and no divisions (REPEATS=0) and
one of a single seed and all divisions together are what one run of both would be; neither has to wait for the other.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from lib._errors import UserError
from lib._files import ROOT
from lib.claims.reference import REFERENCES

ALIKE = ("epochs", "learning_rate", "precision", "stain", "size", "test_fraction", "foreground")
OF_SEEDS = (  # what a claim in results.json says of these images with other seeds
    "verdict_seeds", "seed_effect", "seed_low", "seed_high", "seed_p_value", "seed_se", "n_seeds", "by_run",
    "needed_seeds",
)  # fmt: skip


def join(seeds: dict[str, Any], divisions: dict[str, Any]) -> dict[str, Any]:
    """Returns the results of one run of the seeds of the first and of the divisions of the second.

    Args:
        seeds, divisions: contents of results.json, of the same data, claims and settings.

    Raises:
        UserError: they differ in what they must have in common.
    """
    for name in ALIKE:
        if seeds["parameters"][name] != divisions["parameters"][name]:
            raise UserError(f"{name}: expected the same in both, found two values")
    if seeds["provenance"]["dataset_sha256"] != divisions["provenance"]["dataset_sha256"]:
        raise UserError("expected two runs on the same data, found other data")
    if [claim["statement"] for claim in seeds["claims"]] != [claim["statement"] for claim in divisions["claims"]]:
        raise UserError("expected two runs of the same claims, found other claims; make both of one commit")
    claims = []
    for here, elsewhere in zip(seeds["claims"], divisions["claims"], strict=True):
        if not elsewhere.get("n_divisions"):
            claims.append(here)
        elif here["verdict"] == "not run":  # it is measured in divisions alone
            claims.append(elsewhere)
        else:
            claims.append(elsewhere | {name: here.get(name) for name in OF_SEEDS})
    return seeds | {
        "provenance": seeds["provenance"] | {"divisions": divisions["provenance"]},
        "parameters": seeds["parameters"] | {"repeats": divisions["parameters"]["repeats"]},
        "claims": claims,
        "side": divisions["side"] | seeds["side"],
    }


def main() -> int:
    """Reads the two reports' folders, and writes results.json and scores.csv.xz into the folder of a reference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seeds", type=Path)
    parser.add_argument("divisions", type=Path)
    parser.add_argument("--out", type=Path, default=REFERENCES / "warwick")
    given = parser.parse_args()
    contents = [json.loads((folder / "results.json").read_bytes()) for folder in (given.seeds, given.divisions)]
    first, second = (pd.read_csv(folder / "scores.csv.xz") for folder in (given.seeds, given.divisions))
    images = ["place", "split", "image", "patient"]
    numbered = [of.loc[of["place"] == "splits", images].drop_duplicates(ignore_index=True) for of in (first, second)]
    if not numbered[0].equals(numbered[1]):
        raise UserError("scores.csv.xz: expected the same images under the same numbers in both, found others")
    results = join(*contents)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    scores = pd.concat([first[first["place"] == "splits"], second[second["place"] == "folds"]])
    scores.to_csv(given.out / "scores.csv.xz", index=False, float_format="%.6f")
    print(f"{given.out.relative_to(ROOT) if given.out.is_relative_to(ROOT) else given.out}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
