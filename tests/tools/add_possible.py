"""Adds section 4's runs to a reference: `python tests/tools/add_possible.py DATASET=DIR`.

No verdict rests on them, so that a committed full run without them, and the runs that this trains or finds in the
store, are together what one run of both would be.
"""

import sys
from datetime import UTC, datetime
from typing import Any

from add_divisions import as_reference, told, write_results

from lib._errors import UserError, run_command
from lib.data.dataset import Dataset
from lib.report.parameters import Parameters, parse_parameters
from lib.report.provenance import provenance
from lib.report.results import side_results
from lib.runs.finish import report_runs

ADDED = ("possible", "ladder")  # of EXPERIMENTS


def with_possible(results: dict[str, Any], parameters: Parameters, dataset: Dataset, command: str) -> dict[str, Any]:
    """Returns the content of a results.json with the runs of ADDED, and how they came about.

    Args:
        results: without them, or with older ones. parameters: with what it has in common with them.
        dataset: its data. command: that was given.
    """
    started = datetime.now(UTC)
    request = parameters.of_runs()
    plans = {name: plan for name, plan in request.plans(dataset).items() if name in ADDED}
    if len(plans) < len(ADDED):
        raise UserError(
            "expected POSSIBLE=yes and folds, found what leaves them out; do without POSSIBLE= and REPEATS="
        )
    runs = report_runs(dataset, request, plans)
    return results | {
        "parameters": results["parameters"] | {"possible": True},
        "side": results["side"] | side_results(runs, dataset),
        "provenance": results["provenance"] | {"possible": provenance(parameters, dataset, started, command)},
    }


def add_possible(arguments: list[str]) -> None:
    """Trains what is missing, and writes the reference's results.json anew."""
    given = parse_parameters(["STUDY=yes", "SEEDS=5", "POSSIBLE=yes", *arguments])
    dataset = given.load()
    name, results, parameters = as_reference(given, dataset)
    write_results(name, with_possible(results, parameters, dataset, told("add_possible", given, arguments)))
    print(f"reports/reference/{name}: now with the network of today")


if __name__ == "__main__":
    sys.exit(run_command(lambda: add_possible(sys.argv[1:]), "the reference is as it was."))
