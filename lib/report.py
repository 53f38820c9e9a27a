"""`python -m lib.report NAME=value ...`: checks, trains, executes the notebooks, and publishes the report.

Exit code 0 after a complete report, 1 after a failed run, 2 after a user's mistake, 130 after Ctrl-C. In all but
the first case the report that was there before is untouched.
"""

import difflib
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from pydantic import BaseModel, Field, ValidationError

from lib import store
from lib.claims import judge
from lib.data import (
    ROOT,
    SYNTHETIC,
    Dataset,
    FailedRun,
    UserError,
    duplicates,
    load_dataset,
    shared_patients,
)
from lib.engine import environment
from lib.evaluation import trivial_scores
from lib.experiments import (
    EXPERIMENTS,
    VARIANTS,
    Evidence,
    Run,
    evidence,
    extreme_images,
    image_scores,
    mean_scores,
    report_runs,
)
from lib.reference import reference_for
from lib.statistics import FEWEST_SEEDS
from lib.training import Precision, TrainingConfig

REPORTS = ROOT / "reports"
RESERVED = (SYNTHETIC, "reference")  # names of reports that are no folder's
STUDY_SEEDS = 20  # of a full study, unless it is asked for others
PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "pillow", "papermill", "nbconvert", "nbclient")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Parameters(BaseModel, frozen=True, extra="forbid"):
    """What `make report` takes, in lower case; all but `name` are also the parameters of the notebooks."""

    dataset: str = SYNTHETIC
    seeds: int = Field(3, ge=1, le=1000)
    epochs: int = Field(60, ge=1, le=10_000)
    learning_rate: float = Field(1e-3, ge=1e-8, le=1)
    precision: Precision = "fp32"
    stain: Literal["rgb", "unmixed"] = "rgb"
    size: int = Field(0, ge=0, le=1024)  # pixels; 0 leaves it to `load_dataset`
    test_fraction: float = Field(0.4, gt=0, lt=1)
    workers: int = Field(CORES, ge=1, le=1024)
    study: bool = False  # all experiments, not the variants alone; given by `make study`
    name: str = ""  # of the report's folder; the dataset's by default

    def of_notebooks(self) -> dict[str, Any]:
        """Returns the values that are injected into every notebook."""
        return self.model_dump(exclude={"name"})

    def of_runs(self) -> dict[str, Any]:
        """Returns the arguments of `report_runs`."""
        return self.model_dump(include={"seeds", "epochs", "learning_rate", "precision", "workers", "study"})

    def load(self) -> Dataset:
        """Loads the dataset."""
        return load_dataset(self.dataset, size=self.size or None, stain=self.stain, test_fraction=self.test_fraction)


def parse_parameters(arguments: Sequence[str]) -> Parameters:
    """Reads NAME=value arguments.

    Raises:
        UserError: for an unknown name (with the nearest known one), a value of another type or out of range.
    """
    given = dict(argument.partition("=")[::2] for argument in arguments)
    known = [name.upper() for name in Parameters.model_fields]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name.upper(), known, n=1)
            hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)
            raise UserError(f"{name}: unknown parameter; {hint}")
    if "STUDY" in given:
        given.setdefault("SEEDS", str(STUDY_SEEDS))
    try:
        return Parameters.model_validate({name.lower(): text for name, text in given.items()})
    except ValidationError as error:
        problem = error.errors()[0]
        expected = problem["msg"].removeprefix("Input should be ").split(", unable")[0]
        raise UserError(f"{str(problem['loc'][0]).upper()}: expected {expected}, found {problem['input']!r}") from None


def report_name(parameters: Parameters, dataset: Dataset) -> str:
    """Returns the name of the report's folder; raises UserError for one that cannot be used."""
    name = parameters.name or dataset.name
    taken = name in RESERVED and not name == parameters.dataset == SYNTHETIC
    if taken or name.endswith(("-study", ".failed")) or not re.fullmatch(r"[^/\\\0-\x1f.][^/\\\0-\x1f]{0,99}", name):
        raise UserError(
            f"NAME={name}: expected a folder name that starts with no dot, is none of {', '.join(RESERVED)} "
            "and does not end in -study or .failed; choose one with NAME="
        )
    name += "-study" * parameters.study
    target = REPORTS / name
    if target.is_symlink() or (target.exists() and not (target / "results.json").is_file()):
        raise UserError(f"reports/{name}: expected a report or nothing, found something else; move it away")
    return name


def _git(*arguments: str) -> str | None:
    try:
        output = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return output.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu() -> str:
    """Returns the processor's name, with the numbers that tell models of one name apart where they are known."""
    cpuinfo = Path("/proc/cpuinfo")
    told = cpuinfo.read_text() if cpuinfo.exists() else ""
    names = re.findall(r"model name\s*:\s*(.+)", told)
    numbers = [
        f"{kind} {found[0]}" for kind in ("family", "model") if (found := re.findall(rf"{kind}\s*: (\d+)", told))
    ]
    return f"{names[0]} ({', '.join(numbers)})" if names else platform.processor()


def can_train_in(precision: Precision) -> bool:
    """Returns whether this processor has the instructions for a precision; without them it is 20 times slower."""
    return precision == "fp32" or torch.cpu._is_avx512_bf16_supported()


def machine(parameters: Parameters) -> dict[str, Any]:
    """Returns what, beside code and data, decides the bits of a run."""
    return {
        "packages": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": cpu(),
        "threads": TrainingConfig().threads,
        "precision": parameters.precision,
    }


def provenance(parameters: Parameters, dataset: Dataset, started: datetime, command: str) -> dict[str, Any]:
    """Returns what is needed to regenerate the report, and what it was made with."""
    ours = _git("rev-parse", "--show-toplevel") == str(ROOT)  # not of a repository that this folder lies in
    status = _git("status", "--porcelain") if ours else None
    return {
        "git_commit": _git("rev-parse", "HEAD") if ours else None,
        "git_dirty": None if status is None else bool(status),
        **machine(parameters),
        "workers": parameters.workers,
        "dataset_sha256": dataset.sha256,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "command": command,
    }


def variant_results(runs: Mapping[str, Sequence[Run]], dataset: Dataset) -> dict[str, Any]:
    """Returns the runs of some variants as results.json tells them."""
    scores = mean_scores(image_scores(runs, dataset))
    return {
        variant: {
            "label": VARIANTS[variant].label,
            "config": {key: value for key, value in vars(of_variant[0].config).items() if key != "seed"},
            "runs": [
                {
                    "seed": run.config.seed,
                    "seconds": sum(run.history.seconds),
                    "history": vars(run.history),
                    **{split: scores.loc[(variant, run.config.seed, split)].to_dict() for split in dataset.splits},
                }
                for run in of_variant
            ],
        }
        for variant, of_variant in runs.items()
    }


def side_results(runs: Mapping[str, Mapping[str, Sequence[Run]]]) -> dict[str, Any]:
    """Returns the side experiments as results.json tells them: final scores and seconds of training."""
    return {
        experiment: {
            variant: {
                "label": EXPERIMENTS[experiment].variants[variant].label,
                "epochs": of_variant[0].config.epochs,
                "runs": [
                    {
                        "seed": run.config.seed,
                        "fold": run.fold.index if run.fold else None,
                        "seconds": sum(run.seconds),
                        **{
                            split: {metric: values.mean().item() for metric, values in of_split.items()}
                            for split, of_split in run.scores[run.config.epochs].items()
                        },
                    }
                    for run in of_variant
                ],
            }
            for variant, of_variant in of_experiment.items()
        }
        for experiment, of_experiment in runs.items()
        if experiment != "variants"
    }


def collect_results(
    runs: Mapping[str, Mapping[str, Sequence[Run]]], scores: Evidence, dataset: Dataset, parameters: Parameters
) -> dict[str, Any]:
    """Returns the content of results.json, but for its provenance: all that the report says, for machines."""
    shared = shared_patients(dataset)
    patients = {patient for split in dataset.splits.values() for patient in split.patients or ()}
    return {
        "parameters": parameters.model_dump() | {"dataset": dataset.name},
        "dataset": {
            "name": dataset.name,
            "synthetic": parameters.dataset == SYNTHETIC,
            "n_train": len(dataset.train),
            "n_test": len(dataset.test),
            "n_test_b": len(dataset.test_b) if dataset.test_b else None,
            "image_size": dataset.image_size,
            "foreground_fraction": {name: split.foreground_fraction for name, split in dataset.splits.items()},
            "patients": len(patients) or None,
            "shared_patients": None if shared is None else {" and ".join(two): ids for two, ids in shared.items()},
            "duplicates": [[" ".join(image) for image in same] for same in duplicates(dataset)],
            "trivial": {answer: dict(of_answer) for answer, of_answer in trivial_scores(dataset.test).items()},
        },
        "variants": variant_results(runs["variants"], dataset),
        "images": {
            which: {"name": image.name, "dsc": image["dsc"], "dice": image["dice"]}
            for which, image in extreme_images(scores.by_image).items()
        },
        "claims": judge(scores, dataset),
        "reference": None if parameters.study else reference_for(dataset),
        "side": side_results(runs),
    }


def _set_aside(target: Path) -> Path:
    """Returns where the old report is while the new one takes its place."""
    return target.with_name(f".{target.name}.old")


def publish(new: Path, target: Path) -> None:
    """Puts a finished report in the place of the old one, which stays if anything fails before."""
    recover(target)
    if target.exists():
        target.rename(_set_aside(target))
    try:
        new.rename(target)
    finally:
        recover(target)


def recover(target: Path) -> None:
    """Puts back the old report where publishing was cut off between its two steps, and clears it away after both."""
    old = _set_aside(target)
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        old.rename(target)


def temporary_folder(target: Path) -> Path:
    """Returns where temporary files lie while a report is made; named after it, so that the next one finds them."""
    return Path(tempfile.gettempdir()) / f"report-{hashlib.sha256(os.fsencode(target)).hexdigest()[:16]}"


@contextmanager
def _only_this_process(target: Path) -> Iterator[Path]:
    """Lends a folder beside the report to make it in, and takes away what a killed process left.

    Temporary files of this process and of its kernels lie in one folder as well, for the same reason.
    """
    REPORTS.mkdir(exist_ok=True)
    staging = target.with_name(f".{target.name}.new")
    lock = store.lock(staging)
    if lock is None:
        raise UserError(f"reports/{target.name}: expected to make it alone, found another process at it; see NAME=")
    temporary = temporary_folder(target)
    try:
        for left in (*staging.iterdir(), temporary):
            shutil.rmtree(left, ignore_errors=True)
        recover(target)
        temporary.mkdir(mode=0o700)
        with environment({"TMPDIR": str(temporary), "JUPYTER_RUNTIME_DIR": str(temporary / "jupyter")}):
            tempfile.tempdir = None  # to be read anew
            yield staging
    finally:
        tempfile.tempdir = None
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(staging, ignore_errors=True)
        store.unlock(lock)


def make_report(parameters: Parameters, arguments: Sequence[str]) -> Path:
    """Makes the whole report and returns its folder."""
    started = datetime.now(UTC)
    if not can_train_in(parameters.precision):
        raise UserError("PRECISION=bf16: expected a CPU with bfloat16 instructions, found none; elsewhere it is slower")
    dataset = parameters.load()
    target = REPORTS / report_name(parameters, dataset)
    height, width = dataset.image_size
    print(
        f"data: {dataset.name}, {len(dataset.train)} training and {len(dataset.test)} test images of {width}x{height}"
    )
    with _only_this_process(target) as staging:
        # These take seconds to import, for which a user's mistake need not wait.
        from lib import notebooks

        values = parameters.of_notebooks()
        chosen, figures = notebooks.NOTEBOOKS, notebooks.FIGURES
        if parameters.study:
            chosen, figures = chosen + notebooks.STUDY_NOTEBOOKS, figures + notebooks.STUDY_FIGURES
        for notebook in chosen:
            notebooks.check_injection(notebook, values)
        runs = report_runs(dataset, **parameters.of_runs())

        new, failed = staging / target.name, target.with_name(f"{target.name}.failed")
        for folder in ("notebooks", "figures", "models"):
            (new / folder).mkdir(parents=True)
        try:
            executed, seconds_by_section = notebooks.execute_notebooks(
                chosen, new / "notebooks", values, parameters.workers
            )
            notebooks.write_figures(executed, new / "figures", figures)
        except notebooks.NotebookError:
            shutil.rmtree(failed, ignore_errors=True)
            new.rename(failed)
            raise
        scores = evidence(runs, dataset)
        given = [a.replace(parameters.dataset, notebooks.public_path(parameters.dataset)) for a in arguments]
        words = ["make", "study" if parameters.study else "report", *(a for a in given if not a.startswith("STUDY="))]
        results = {
            "schema_version": 1,
            "provenance": provenance(parameters, dataset, started, shlex.join(words))
            | {"seconds_by_section": seconds_by_section},
            **collect_results(runs, scores, dataset, parameters),
        }
        _write_page(new, executed, results, runs["variants"], scores.by_image, dataset)
        publish(new, target)
    shutil.rmtree(failed, ignore_errors=True)
    return target


def _write_page(
    new: Path,
    executed: Sequence[Any],
    results: Mapping[str, Any],
    runs: Mapping[str, Sequence[Run]],
    by_image: pd.DataFrame,
    dataset: Dataset,
) -> None:
    """Writes what a report holds beside its notebooks: results, summary figure, page, weights."""
    from lib.figures import figure_effects, figure_summary
    from lib.gallery import pictures
    from lib.page import PageExporter

    labels = {variant: VARIANTS[variant].label for variant in runs}
    first = runs["baseline"][0]
    summary = (
        figure_summary(mean_scores(by_image.loc[list(runs)]), labels, dataset.name)
        if len(runs["baseline"]) < FEWEST_SEEDS
        else figure_effects(None, results["claims"], dataset.name)
    )
    shown = by_image.xs(("baseline", first.config.seed, "test"), level=("variant", "seed", "split"))
    gallery = pictures(first, dataset.test, shown)
    for kind in ("png", "svg"):
        (new / "figures" / f"summary.{kind}").write_bytes(summary.render(kind))
    (new / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
    page = PageExporter().render(executed, results, summary.to_html(), gallery)
    (new / "report.html").write_text(page, encoding="utf-8")
    for variant, of_variant in runs.items():
        for run in of_variant:
            torch.save(run.weights, new / "models" / f"{variant}-seed-{run.config.seed}.pt")


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    try:
        target = make_report(parse_parameters(arguments), arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted: no report was written or replaced; finished runs are kept.", file=sys.stderr)
        return 130
    except (FailedRun, OSError) as error:
        print(f"failed: {error}\nNo report was written or replaced; finished runs are kept.", file=sys.stderr)
        return 1
    print(f"report: {(target / 'report.html').relative_to(REPORTS.parent)}")
    return 0


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):  # the first is ignored where a shell starts this in the background
        signal.signal(ending, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
