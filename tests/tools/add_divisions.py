"""Answers the question of other patients in a reference: `python tests/tools/add_divisions.py DATASET=DIR REPEATS=6`.

The two questions are answered by runs that have nothing in common: that of other seeds by those on the given splits,
that of other patients by those in divisions into folds. So a committed full run without divisions (REPEATS=0), and the
divisions that this trains or finds in the store, are together what one run of both would be; neither waits for the
other. The settings that C4b and C5c compare take as long again, and are left out.
"""

import json
import shlex
import sys
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pandas as pd

from lib._errors import UserError, run_command
from lib.claims.evidence import evidence, image_table
from lib.claims.reference import REFERENCES, find_reference
from lib.claims.verdicts import claim_results, judge
from lib.data.dataset import Dataset
from lib.report.notebooks import public_path
from lib.report.parameters import Parameters, parse_parameters
from lib.report.provenance import provenance
from lib.report.results import side_results
from lib.runs.finish import finished
from lib.runs.plan import SETTINGS

ALIKE = ("epochs", "learning_rate", "precision", "stain", "size", "test_fraction", "foreground")
OF_SEEDS = (  # what a claim in results.json says of these images with other seeds
    "verdict_seeds", "seed_effect", "seed_low", "seed_high", "seed_p_value", "seed_se", "n_seeds", "by_run",
    "needed_seeds",
)  # fmt: skip
COSTS_NOTHING = "dropout 0.5"  # of SETTINGS: a snapshot of the variant


def join(seeds: dict[str, Any], divisions: dict[str, Any]) -> dict[str, Any]:
    """Returns the results of one run of the seeds of the first and of the divisions of the second.

    Args:
        seeds: the content of a results.json. divisions: the like part of one, of the same data and claims.

    Raises:
        UserError: they differ in what they must have in common.
    """
    for name in ALIKE:
        if seeds["parameters"][name] != divisions["parameters"][name]:
            raise UserError(f"{name.upper()}: expected as in the reference, found another value")
    if [claim["statement"] for claim in seeds["claims"]] != [claim["statement"] for claim in divisions["claims"]]:
        raise UserError("expected a reference with the claims of today, found others; make it anew")
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


def measure(parameters: Parameters, dataset: Dataset, command: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """Returns what `join` takes of the divisions of a dataset, and the `image_table` of their runs."""
    started = datetime.now(UTC)
    plans = parameters.of_runs().plans(dataset)
    wanted = {
        "variants": plans["variants"],
        "new patients": {v: of for v, of in plans["new patients"].items() if v not in SETTINGS or v == COSTS_NOTHING},
    }
    runs = finished(dataset, chain(*(of for plan in wanted.values() for of in plan.values())), parameters.workers)
    of_report = {name: {v: [runs[p] for p in of] for v, of in plan.items()} for name, plan in wanted.items()}
    measured = evidence(of_report, dataset)
    content = {
        "parameters": parameters.model_dump(),
        "provenance": provenance(parameters, dataset, started, command),
        "claims": [claim_results(judged) for judged in judge(measured)],
        "side": side_results(of_report),
    }
    return content, image_table(measured)


def add_divisions(arguments: list[str]) -> None:
    """Trains what is missing, and writes the reference's results.json and scores.csv.xz anew."""
    given = parse_parameters(["STUDY=yes", "SEEDS=1", "POSSIBLE=no", *arguments])
    dataset = given.load()
    found = find_reference(dataset.sha256)
    if found is None or found[1]["provenance"]["dataset_sha256"] != dataset.sha256:
        raise UserError(f"DATASET={given.dataset}: expected the data of a reference, found other data")
    name, seeds = found
    parameters = given.model_copy(update={key: seeds["parameters"][key] for key in ALIKE})
    told = [argument.replace(given.dataset, public_path(given.dataset)) for argument in arguments]
    divisions, table = measure(parameters, dataset, shlex.join(["python", "tests/tools/add_divisions.py", *told]))
    folder = REFERENCES / name
    scores = pd.read_csv(folder / "scores.csv.xz")
    images, of_seeds = ["split", "image", "patient"], scores["place"] == "splits"
    numbered = [of.loc[of["place"] == "splits", images].drop_duplicates(ignore_index=True) for of in (scores, table)]
    if not numbered[0].equals(numbered[1]):
        raise UserError(f"{folder.name}/scores.csv.xz: expected the images under the numbers of today, found others")
    results = json.dumps(join(seeds, divisions), indent=1, allow_nan=False)
    (folder / "results.json").write_text(results + "\n", encoding="utf-8")
    joined = pd.concat([scores[of_seeds], table[table["place"] == "folds"]])
    joined.to_csv(folder / "scores.csv.xz", index=False, float_format="%.6f")
    print(f"reports/reference/{name}: now with {parameters.repeats} divisions into folds")


if __name__ == "__main__":
    sys.exit(run_command(lambda: add_divisions(sys.argv[1:]), "the reference is as it was."))
