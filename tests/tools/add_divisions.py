"""Answers the question of other patients in a reference: `python tests/tools/add_divisions.py DATASET=DIR REPEATS=6`.

The two questions are answered by runs that have nothing in common: that of other seeds by those on the given splits,
that of other patients by those in divisions into folds. So a committed full run without divisions (REPEATS=0), and the
divisions that this trains or finds in the store, are together what one run of both would be; neither waits for the
other. Variants that the reference has scores of in as many divisions are not trained again.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import pandas as pd

from lib._errors import UserError, run_command
from lib.claims.evidence import Evidence, image_table, of_images
from lib.claims.reference import REFERENCES, find_reference
from lib.claims.verdicts import claim_results, judge
from lib.data.dataset import Dataset
from lib.report.notebooks import public_path
from lib.report.parameters import Parameters, parse_parameters
from lib.report.provenance import provenance
from lib.report.results import side_results
from lib.runs.finish import finished
from lib.runs.scores import fold_scores

ALIKE = ("epochs", "learning_rate", "precision", "stain", "size", "test_fraction", "foreground")
OF_SEEDS = (  # what a claim in results.json says of these images with other seeds
    "verdict_seeds", "seed_effect", "seed_low", "seed_high", "seed_p_value", "seed_se", "n_seeds", "by_run",
    "needed_seeds",
)  # fmt: skip


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
        if elsewhere.get("n_divisions", 0) == here.get("n_divisions", 0):
            claims.append(here)
        elif here["verdict_seeds"] in ("not run", None):  # it is measured in divisions alone
            claims.append(elsewhere)
        else:
            claims.append(elsewhere | {name: here.get(name) for name in OF_SEEDS})
    return seeds | {
        "provenance": seeds["provenance"]
        | {"divisions": [*seeds["provenance"].get("divisions", ()), divisions["provenance"]]},
        "parameters": seeds["parameters"] | {"repeats": divisions["parameters"]["repeats"]},
        "claims": claims,
        "side": {
            name: seeds["side"].get(name, {}) | divisions["side"].get(name, {})
            for name in seeds["side"] | divisions["side"]
        },
    }


def stored_scores(scores: pd.DataFrame, dataset: Dataset) -> dict[str, pd.DataFrame]:
    """Returns the scores of an `image_table` of a dataset by place, indexed as by `image_scores` and `fold_scores`."""
    images = [(split, image) for split, of_split in dataset.splits.items() for image in of_split.names]
    names = {
        "splits": dict(enumerate(image for _, image in images)),
        "folds": dict(enumerate(" ".join(image) for image in images)),
    }
    levels = ["variant", "seed", "split", "image"]
    return {
        place: of.assign(image=of["image"].map(names[place])).rename(columns={"run": "seed"}).set_index(levels)
        for place, of in scores.groupby("place")
    }


def measure(
    parameters: Parameters, dataset: Dataset, stored: pd.DataFrame, command: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Returns what `join` takes of the divisions of a dataset, and the `image_table` of all scores.

    Args:
        parameters: of the divisions. dataset: that they are of. stored: the reference's `image_table`.
        command: that was given.
    """
    started = datetime.now(UTC)
    plan = parameters.of_runs().plans(dataset)["new patients"]
    before = stored_scores(stored, dataset)
    divided = before.get("folds")
    known = (
        ()
        if divided is None
        else divided.groupby("variant")
        .filter(lambda of: of.index.unique("seed").size == parameters.repeats)
        .index.unique("variant")
    )
    wanted = {variant: of for variant, of in plan.items() if variant not in known}
    if not wanted:
        raise UserError(f"REPEATS={parameters.repeats}: expected something to add to the reference, found it there")
    trained = finished(dataset, chain.from_iterable(wanted.values()), parameters.workers)
    runs = {variant: [trained[planned] for planned in of] for variant, of in wanted.items()}
    kept = [divided.loc[list(known)]] if len(known) else []
    measured = Evidence(
        by_image=before["splits"],
        at_epoch=parameters.epochs,
        equal_epochs=before["splits"],  # of which no number is kept: what C4c says of seeds is the reference's
        in_folds=pd.concat([*kept, fold_scores(runs, dataset)]),
        **of_images(dataset),
    )
    content = {
        "parameters": parameters.model_dump(),
        "provenance": provenance(parameters, dataset, started, command),
        "claims": [claim_results(judged) for judged in judge(measured)],
        "side": side_results({"new patients": runs}, dataset),
    }
    return content, image_table(measured)


def as_reference(given: Parameters, dataset: Dataset) -> tuple[str, dict[str, Any], Parameters]:
    """Returns the reference of a dataset, by name and content, and the parameters with what they have in common.

    Raises:
        UserError: the dataset has no reference.
    """
    found = find_reference(dataset.sha256)
    if found is None or found[1]["provenance"]["dataset_sha256"] != dataset.sha256:
        raise UserError(f"DATASET={given.dataset}: expected the data of a reference, found other data")
    name, results = found
    return name, results, given.model_copy(update={key: results["parameters"][key] for key in ALIKE})


def told(tool: str, given: Parameters, arguments: Sequence[str]) -> str:
    """Returns the command of a tool as it is published: without the path of this machine's dataset."""
    public = [argument.replace(given.dataset, public_path(given.dataset)) for argument in arguments]
    return shlex.join(["python", f"tests/tools/{tool}.py", *public])


def write_results(name: str, results: dict[str, Any]) -> None:
    """Replaces a reference's results.json."""
    text = json.dumps(results, indent=1, allow_nan=False)
    (REFERENCES / name / "results.json").write_text(text + "\n", encoding="utf-8")


def add_divisions(arguments: list[str]) -> None:
    """Trains what is missing, and writes the reference's results.json and scores.csv.xz anew."""
    given = parse_parameters(["STUDY=yes", "SEEDS=1", "POSSIBLE=no", *arguments])
    dataset = given.load()
    name, seeds, parameters = as_reference(given, dataset)
    scores = REFERENCES / name / "scores.csv.xz"
    divisions, table = measure(parameters, dataset, pd.read_csv(scores), told("add_divisions", given, arguments))
    write_results(name, join(seeds, divisions))
    table.to_csv(scores, index=False, float_format="%.6f")
    print(f"reports/reference/{name}: now with {parameters.repeats} divisions into folds")


if __name__ == "__main__":
    sys.exit(run_command(lambda: add_divisions(sys.argv[1:]), "the reference is as it was."))
