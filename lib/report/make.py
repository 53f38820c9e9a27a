"""Makes a report: checks, trains, executes the notebooks, and publishes.

Unless it succeeds, the report that was there before is untouched.
"""

import json
import shlex
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from statistics import fmean, median
from typing import Any

import nbformat
import pandas as pd

from lib import _files
from lib._errors import UserError, run_command
from lib._files import delete, lock, publish, recover, temporary_files, unlock
from lib.claims.evidence import SCORES, Evidence, evidence, image_table
from lib.claims.findings import QUESTION, best_constant, findings
from lib.claims.intervals import LOOKS
from lib.claims.verdicts import judge, may_be_decided
from lib.data.dataset import Dataset
from lib.data.reading import BYTES_A_PIXEL, UNET_BYTES_A_PIXEL
from lib.report.parameters import Parameters, parse_parameters, report_target, source_of
from lib.report.provenance import provenance
from lib.report.results import collect_results
from lib.report.unchanged import (
    UNFINISHED,
    Inputs,
    Last,
    check_unchanged,
    data_hashes,
    inputs,
    run_hashes,
    write_record,
)
from lib.runs import store
from lib.runs.finish import ONLY_STORED, report_runs
from lib.runs.plan import VARIANTS, can_train_in
from lib.runs.run import Run
from lib.runs.scores import constant_means, mean_scores
from lib.runs.workers import environment


@contextmanager
def _only_this_process(target: Path) -> Iterator[Path]:
    """Lends a folder beside the report to make it in, and takes away what a killed process left.

    Temporary files of this process and of its kernels lie in one folder as well, for the same reason.
    """
    _files.REPORTS.mkdir(exist_ok=True)
    staging = target.with_name(f".{target.name}.new")
    held = lock(staging)
    if held is None:
        raise UserError(f"reports/{target.name}: expected to make it alone, found another process at it; see NAME=")
    try:
        staging.mkdir(exist_ok=True)
        recover(target)
        with temporary_files(staging) as temporary:
            for left in staging.iterdir():
                if left.is_dir():
                    delete(left)
            from lib.report.notebooks import kernel_environment

            with environment(kernel_environment(temporary)):
                tempfile.tempdir = None  # to be read anew
                yield staging
    finally:
        tempfile.tempdir = None
        delete(staging)
        unlock(held)


def make_report(parameters: Parameters, arguments: Sequence[str], made_of: Inputs, last: Last) -> Path:
    """Makes the whole report, with those notebooks of the last one that are unchanged, and returns its folder."""
    started = datetime.now(UTC)
    if not can_train_in(parameters.precision):
        raise UserError("PRECISION=bf16: expected a CPU with bfloat16 instructions, found none; elsewhere it is slower")
    dataset = parameters.load()
    target = report_target(parameters, dataset)
    height, width = dataset.image_size
    train, test = len(dataset.train), len(dataset.test)
    memory = height * width * (UNET_BYTES_A_PIXEL if parameters.possible else BYTES_A_PIXEL) / 1e9
    print(f"data: {dataset.name}, {train} training and {test} test images of {width}x{height}")
    for note in dataset.notes:
        print(f"  {note}")
    if memory >= 0.1:
        print(f"memory: about {memory:.1f} GB a process in training")
    with _only_this_process(target) as staging:
        # These take seconds to import, for which a user's mistake need not wait.
        from lib.report import notebooks

        values = parameters.of_notebooks(dataset.key)
        chosen, figures = notebooks.chosen(parameters.study, parameters.possible, parameters.repeats, parameters.seeds)
        for notebook in chosen:
            notebooks.check_injection(notebook, values)
        if parameters.until:
            parameters = _until_decided(parameters, dataset)
            values = parameters.of_notebooks(dataset.key)
        request = parameters.of_runs()
        plans = request.plans(dataset)
        runs = report_runs(dataset, request, plans)
        planned = chain(*(of for of_experiment in plans.values() for of in of_experiment.values()))
        shown = run_hashes(f"{one.folder(dataset).name}/{store.RUN}" for one in planned)

        new, failed = staging / target.name, target.with_name(f"{target.name}.failed")
        for folder in ("notebooks", "figures", "models"):
            (new / folder).mkdir(parents=True)
        try:
            sections = last.reuse(shown, new / "notebooks")
            stale = [notebook for notebook in chosen if notebook.name not in sections]
            if sections:
                print(f"notebooks: {len(stale)} of {len(chosen)} are executed; the others are unchanged")
            with environment({ONLY_STORED: "yes"}):
                sections |= notebooks.execute_notebooks(stale, new / "notebooks", values, parameters.workers)
            executed = [nbformat.read(new / "notebooks" / notebook.name, as_version=4) for notebook in chosen]
            notebooks.write_figures(executed, new / "figures", figures)
        except notebooks.NotebookError:
            delete(failed)
            new.rename(failed)
            raise
        measured = evidence(runs, dataset, bool(parameters.until))
        judged = judge(measured)
        given = [a.replace(parameters.dataset, notebooks.public_path(parameters.dataset)) for a in arguments]
        words = ["make", "study" if parameters.study else "report", *(a for a in given if not a.startswith("STUDY="))]
        results = {
            "schema_version": 1,
            "provenance": provenance(parameters, dataset, started, shlex.join(words))
            | {
                "source": source_of(parameters.dataset),
                "seconds_by_section": {notebook.stem: sections[notebook.name]["seconds"] for notebook in chosen},
            },
            **collect_results(runs, measured, judged, dataset, parameters),
        }
        _write_page(new, executed, results, runs, measured, dataset, parameters.stain)
        check_unchanged(made_of["code"])
        if data_hashes(parameters.dataset) == made_of["data"]:  # otherwise the next report is made anew
            write_record(new, arguments, made_of, sections, shown)
        publish(new, target)
        delete(failed)
    return target


def _until_decided(parameters: Parameters, dataset: Dataset) -> Parameters:
    """Trains divisions up to one of LOOKS after which no more of them could decide, and returns how many these are."""
    for repeats in LOOKS:
        parameters = parameters.model_copy(update={"repeats": repeats})
        measured = evidence(report_runs(dataset, parameters.of_runs()), dataset, until_decided=True)
        if not (claims := may_be_decided(judge(measured))):
            break
        print(f"after {repeats} divisions: more could decide {', '.join(dict.fromkeys(claims))}")
    return parameters


def _write_page(
    new: Path,
    executed: Sequence[Any],
    results: Mapping[str, Any],
    of_report: Mapping[str, Mapping[str, Sequence[Run]]],
    measured: Evidence,
    dataset: Dataset,
    stain: str,
) -> None:
    """Writes what a report holds beside its notebooks: results, summary figure, page, weights."""
    from lib.figures.effects import figure_summary
    from lib.figures.gallery import pictures, portable_weights
    from lib.report.page import PageExporter

    runs = of_report["variants"]
    labels = {variant: VARIANTS[variant].label for variant in runs}
    first, by_image = runs["baseline"][0], measured.by_image
    scores, constant = mean_scores(by_image.loc[list(runs)]), constant_means(dataset.test)
    summary = figure_summary(scores, labels, dataset.name, constant)
    shown = by_image.xs(("baseline", first.config.seed, "test"), level=("variant", "seed", "split"))
    gallery = pictures(first, dataset.test, shown)
    image_table(measured).to_csv(new / "scores.csv.xz", index=False, float_format="%.6f")
    for kind in ("png", "svg"):
        (new / "figures" / f"summary.{kind}").write_bytes(summary.render(kind))
    (new / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    page = PageExporter().render(executed, results, summary.to_html(), gallery, portable_weights(runs))
    (new / "report.html").write_text(page, encoding="utf-8")
    models, configurations = new / "models", {}
    for variant, of_variant in {**runs, **of_report.get("possible", {})}.items():
        for run in of_variant:
            name = f"{variant}-seed-{run.config.seed}.pt"
            (models / name).write_bytes(store.to_bytes(run.weights))
            configurations[name] = asdict(run.config)
    originals = dataset.train.original_sizes or (dataset.image_size,)
    scale = [size / median(sides) for size, sides in zip(dataset.image_size, zip(*originals, strict=True), strict=True)]
    kept = {"scale": scale, "stain": stain, "models": configurations}  # what `lib.report.predict` needs
    (models / "configurations.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def score_lines(results: Mapping[str, Any]) -> str:
    """Returns a table for a terminal of the mean scores in a results.json, and of the best constant answer's."""
    of_variants = {
        variant["label"]: {
            (split, SCORES[metric]): fmean(run[split][metric] for run in variant["runs"])
            for split in ("train", "test")
            for metric in SCORES
        }
        for variant in results["variants"].values()
    }
    constant = {("test", SCORES[metric]): best_constant(results, metric) for metric in SCORES}
    table = pd.DataFrame(of_variants | {"Best constant answer": constant}).T
    return table.to_string(float_format="{:.3f}".format, na_rep="")


def make(arguments: Sequence[str], made_of: Inputs, last: Last) -> None:
    """Makes the report that these arguments ask for, and says what it found and where it is.

    Args:
        arguments: of the command.
        made_of: what `inputs` told before lib was imported.
        last: the report of these arguments that is there, whose unchanged notebooks are used again.
    """
    target = make_report(parse_parameters(arguments), arguments, made_of, last)
    results = json.loads((target / "results.json").read_bytes())
    print(f"\n{score_lines(results)}\n")
    answer, *found = findings(results)
    for told in (f"{QUESTION} {answer}", *found):
        print(textwrap.fill(told, 100))
    print(f"\nreport: {(target / 'report.html').relative_to(_files.REPORTS.parent)} (open it in a browser)")


def main(arguments: Sequence[str]) -> int:
    """Makes a report from nothing but stored runs, and returns the command's exit code."""
    return run_command(lambda: make(arguments, inputs(arguments), Last([])), UNFINISHED)
