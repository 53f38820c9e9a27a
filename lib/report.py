"""`python -m lib.report NAME=value ...`: checks, trains, executes the notebooks, and publishes the report.

Exit code 0 after a complete report, 1 after a failed run, 2 after a user's mistake, 130 after Ctrl-C. In all but
the first case the report that was there before is untouched.
"""

import ast
import base64
import difflib
import json
import logging
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import papermill
import psutil
import torch
from nbformat import NotebookNode
from tqdm import tqdm
from traitlets.config import Config

from lib.data import ROOT, SYNTHETIC, Dataset, UserError, load_dataset
from lib.experiments import VARIANTS, Run, TrainingError, image_scores, mean_scores, trained_runs
from lib.figures import ReportFigure, figure_summary

NOTEBOOKS = tuple(
    ROOT / "notebooks" / f"{stem}.ipynb" for stem in ("2.1_segmentation", "2.2a_noise", "2.2b_dropout", "2.2c_l2")
)
FIGURES = range(12, 18)
REPORTS = ROOT / "reports"
RESERVED = ("synthetic", "reference")  # names of reports that are no dataset's
CELL_TIMEOUT = 1800  # seconds; a cell takes a few, since all runs are in the store before notebooks start
PACKAGES = ("torch", "numpy", "scipy", "pandas", "matplotlib", "pillow", "papermill", "nbconvert", "nbclient")
SCHEMA_VERSION = 1


class NotebookError(RuntimeError):
    """A notebook did not run to its end: which one, in which cell, and why."""


@dataclass(frozen=True)
class Parameters:
    """What `make report` takes, in lower case; all but `name` are also the parameters of the notebooks."""

    dataset: str = SYNTHETIC
    seeds: int = 3
    epochs: int = 60
    learning_rate: float = 1e-3
    workers: int = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    name: str = ""  # of the report's folder; the dataset's by default


RANGES = {"seeds": (1, 1000), "epochs": (1, 10_000), "workers": (1, 1024), "learning_rate": (1e-8, 1.0)}


def parse_parameters(arguments: Sequence[str]) -> Parameters:
    """Reads NAME=value arguments.

    Raises:
        UserError: for an unknown name (with the nearest known one), a value of another type or out of range.
    """
    kinds = {name: type(default) for name, default in asdict(Parameters()).items()}
    given: dict[str, Any] = {}
    for argument in arguments:
        key, _, text = argument.partition("=")
        name = key.lower()
        if name not in kinds or key != key.upper():
            near = difflib.get_close_matches(name, kinds, n=1)
            hint = f"did you mean {near[0].upper()}?" if near else "known: " + ", ".join(kinds).upper()
            raise UserError(f"{key}: unknown parameter; {hint}")
        try:
            given[name] = kinds[name](text)
        except ValueError:
            expected = "a whole number" if kinds[name] is int else "a number"
            raise UserError(f"{key}: expected {expected}, found {text!r}") from None
        if name in RANGES and not RANGES[name][0] <= given[name] <= RANGES[name][1]:
            low, high = RANGES[name]
            raise UserError(f"{key}: expected a value from {low:g} to {high:g}, found {text}")
    return Parameters(**given)


def report_name(parameters: Parameters, dataset: Dataset) -> str:
    """Returns the name of the report's folder; raises UserError for one that cannot be used."""
    name = parameters.name or dataset.name
    taken = name in RESERVED and not (name == parameters.dataset == SYNTHETIC)
    if taken or name.endswith(("-study", ".failed")) or not re.fullmatch(r"[^/\\\0-\x1f.][^/\\\0-\x1f]{0,99}", name):
        raise UserError(
            f"NAME={name}: expected a folder name that starts with no dot, is none of {', '.join(RESERVED)} "
            "and does not end in -study or .failed; choose one with NAME="
        )
    target = REPORTS / name
    if target.exists() and any(target.iterdir()) and not (target / "results.json").is_file():
        raise UserError(
            f"{target.relative_to(REPORTS.parent)}: expected a report or nothing, found something else; move it away"
        )
    return name


def notebook_parameters(path: Path) -> dict[str, Any]:
    """Returns the names and defaults in a notebook's cell tagged "parameters", which holds literals only."""
    notebook = nbformat.read(path, as_version=4)
    cells = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assignments = [node for cell in cells for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)]
    return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in assignments}


def check_injection(path: Path, values: Mapping[str, Any]) -> None:
    """Refuses what papermill would inject in silence: raises NotebookError for a name or type the notebook lacks."""
    defaults = notebook_parameters(path)
    for name, value in values.items():
        if name not in defaults:
            raise NotebookError(f"{path.name}: expected the parameters {', '.join(defaults)}, found {name}")
        if type(value) is not type(defaults[name]):
            expected, found = type(defaults[name]).__name__, type(value).__name__
            raise NotebookError(f"{path.name}: parameter {name}: expected {expected}, found {found}")


def incomplete_cell(notebook: NotebookNode) -> str | None:
    """Returns which code cell did not run to its end, by its position in the source and its first line, or None.

    A saved notebook calls all cells "completed" after its kernel was killed; the missing reply tells.
    """
    papermills = {"injected-parameters", "papermill-error-cell-tag"}
    cells = [cell for cell in notebook.cells if not papermills & set(cell.metadata.get("tags", []))]
    for position, cell in enumerate(cells, start=1):
        if cell.cell_type == "code" and cell.source.strip():
            replied = cell.execution_count and "shell.execute_reply" in cell.metadata.get("execution", {})
            if not replied or any(output.output_type == "error" for output in cell.outputs):
                return f"cell {position} ({cell.source.strip().splitlines()[0]})"
    return None


def public_path(dataset: str) -> str:
    """Returns a dataset's path as a report may tell it: relative as it was given, absolute without its folders."""
    return f".../{Path(dataset).name}" if Path(dataset).is_absolute() else dataset


def execute_notebook(source: Path, target: Path, values: Mapping[str, Any], timeout: int) -> NotebookNode:
    """Runs one notebook from top to bottom in a kernel of its own.

    Args:
        source: the notebook, with a cell tagged "parameters".
        target: where the executed one is written, as far as it came.
        values: replace defaults of that cell.
        timeout: seconds that one cell may take.

    Returns:
        The executed notebook: every cell ran, and nothing in it tells when or in which folder.

    Raises:
        NotebookError: an exception, a dead kernel or a timeout, with the cell in which it happened.
    """
    check_injection(source, values)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its errors are told once, below
    cause: Exception | None = None
    # Sockets in a folder of their own: on TCP other users of the machine could read along, and ipykernel warns of it.
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        try:
            papermill.execute_notebook(
                source, target, dict(values), kernel_name="python3", progress_bar=False,
                execution_timeout=timeout, start_timeout=120,
                config=Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/socket"}}),
            )  # fmt: skip
        except Exception as error:
            cause = error
    notebook = nbformat.read(target, as_version=4) if target.exists() else None
    where = incomplete_cell(notebook) if notebook else "before its first cell"
    if cause or where or notebook is None:
        name, reason = getattr(cause, "ename", type(cause).__name__), str(getattr(cause, "evalue", cause)).strip()
        told = f"{name}: {reason.splitlines()[0]}" if cause else "ended before its last cell"
        raise NotebookError(f"{source.name}, {where}: {told}") from cause
    notebook.metadata.pop("papermill")  # tells the time and the folder
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"  # papermill's is random
            dataset = str(values.get("dataset", ""))
            cell.source = cell.source.replace(dataset, public_path(dataset))
    nbformat.write(notebook, target)
    return notebook


def execute_notebooks(folder: Path, values: Mapping[str, Any], workers: int) -> list[NotebookNode]:
    """Runs all notebooks, some at the same time, into a folder; raises the first NotebookError after all ended."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [
            pool.submit(execute_notebook, source, folder / source.name, values, CELL_TIMEOUT) for source in NOTEBOOKS
        ]
        try:
            return [future.result() for future in tqdm(futures, desc="notebooks", unit="notebook")]
        except BaseException:  # Ctrl-C above all: kernels have sessions of their own and would go on
            pool.shutdown(wait=False, cancel_futures=True)
            for child in psutil.Process().children():
                if "ipykernel_launcher" in child.cmdline():
                    child.kill()
            raise


def write_figures(notebooks: Sequence[NotebookNode], summary: ReportFigure, folder: Path) -> None:
    """Writes every numbered figure as PNG and SVG; raises NotebookError if one is missing, doubled or has no alt."""
    folder.mkdir()
    found = []
    for output in (output for nb in notebooks for cell in nb.cells for output in cell.get("outputs", [])):
        figure = output.get("metadata", {}).get("report_figure")
        if figure:
            found.append(figure["number"] if figure["alt"].strip() else None)
            stem = f"figure-{figure['number']}"
            (folder / f"{stem}.png").write_bytes(base64.b64decode(output.data["image/png"]))
            (folder / f"{stem}.svg").write_text(output.data["image/svg+xml"])
    if found != list(FIGURES):
        raise NotebookError(f"figures: expected {list(FIGURES)} with alt texts, found {found}")
    for kind in ("png", "svg"):
        (folder / f"summary.{kind}").write_bytes(summary.render(kind))


def _git(*arguments: str) -> str | None:
    try:
        output = subprocess.run(("git", *arguments), cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return output.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _cpu() -> str:
    try:
        return re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())[0]
    except (OSError, IndexError):
        return platform.processor()


def provenance(parameters: Parameters, dataset: Dataset, started: datetime, arguments: Sequence[str]) -> dict[str, Any]:
    """Returns what is needed to regenerate the report, and what it was made with."""
    given = [argument.replace(parameters.dataset, public_path(parameters.dataset)) for argument in arguments]
    status = _git("status", "--porcelain")
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        "git_dirty": None if status is None else bool(status),
        "packages": {package: version(package) for package in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": _cpu(),
        "threads": 1,
        "workers": parameters.workers,
        "dataset_sha256": dataset.sha256,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 1),
        "command": " ".join(["make report", *given]),
    }


def collect_results(
    runs: Mapping[str, Sequence[Run]],
    by_image: pd.DataFrame,
    dataset: Dataset,
    parameters: Parameters,
    origin: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns the content of results.json: everything that the report says, for machines."""
    scores = mean_scores(by_image)
    baseline = by_image[["dsc", "dice"]].loc["baseline"].xs("test", level="split").groupby("image", sort=False).mean()
    best, worst = baseline["dsc"].idxmax(), baseline["dsc"].idxmin()
    patients = [split.patients for split in (dataset.train, dataset.test)]
    return {
        "schema_version": SCHEMA_VERSION,
        "provenance": dict(origin),
        "parameters": asdict(parameters) | {"dataset": dataset.name},
        "dataset": {
            "name": dataset.name,
            "n_train": len(dataset.train),
            "n_test": len(dataset.test),
            "image_size": list(dataset.image_size),
            "foreground_fraction": {
                "train": dataset.train.foreground_fraction,
                "test": dataset.test.foreground_fraction,
            },
            "patients": len({name for split in patients for name in split or ()}) or None,
        },
        "variants": {
            variant: {
                "label": VARIANTS[variant].label,
                "config": {key: value for key, value in asdict(of_variant[0].config).items() if key != "seed"},
                "runs": [
                    {
                        "seed": run.config.seed,
                        "seconds": sum(run.history.seconds),
                        "history": asdict(run.history),
                        **{
                            split: scores.loc[(variant, run.config.seed, split)].to_dict()
                            for split in ("train", "test")
                        },
                    }
                    for run in of_variant
                ],
            }
            for variant, of_variant in runs.items()
        },
        "images": {
            which: {"name": name, **baseline.loc[name].to_dict()} for which, name in (("best", best), ("worst", worst))
        },
        "claims": [],
        "side": {},
    }


def render_page(notebooks: Sequence[NotebookNode], results: Mapping[str, Any], summary: ReportFigure) -> str:
    """Returns the report as one HTML page that needs no other file and no network."""
    from lib.page import PageExporter  # nbconvert takes a second to import

    return PageExporter().render(notebooks, results, summary.to_html())


def publish(new: Path, target: Path) -> None:
    """Puts a finished report in the place of the old one, which stays if anything fails before."""
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def make_report(parameters: Parameters, arguments: Sequence[str]) -> Path:
    """Makes the whole report and returns its folder."""
    started = datetime.now(UTC)
    dataset = load_dataset(parameters.dataset)
    target = REPORTS / report_name(parameters, dataset)
    height, width = dataset.image_size
    print(
        f"data      {dataset.name}: {len(dataset.train)} training and {len(dataset.test)} test images, {width}x{height}"
    )

    values = {key: value for key, value in asdict(parameters).items() if key != "name"}
    for notebook in NOTEBOOKS:
        check_injection(notebook, values)
    runs = trained_runs(
        dataset, tuple(VARIANTS), parameters.seeds, parameters.epochs, parameters.learning_rate, parameters.workers
    )

    REPORTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.new-", dir=REPORTS) as scratch:
        new = Path(scratch) / target.name
        (new / "notebooks").mkdir(parents=True)
        try:
            executed = execute_notebooks(new / "notebooks", values, parameters.workers)
            origin = provenance(parameters, dataset, started, arguments)
            by_image = image_scores(runs, dataset)
            results = collect_results(runs, by_image, dataset, parameters, origin)
            labels = {variant: VARIANTS[variant].label for variant in runs}
            summary = figure_summary(mean_scores(by_image), labels, dataset.name)
            write_figures(executed, summary, new / "figures")
        except NotebookError:
            partial = target.with_name(f"{target.name}.failed")
            shutil.rmtree(partial, ignore_errors=True)
            new.rename(partial)
            raise
        (new / "results.json").write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
        (new / "report.html").write_text(render_page(executed, results, summary), encoding="utf-8")
        (new / "models").mkdir()
        for variant, of_variant in runs.items():
            for run in of_variant:
                torch.save(run.weights, new / "models" / f"{variant}-seed-{run.config.seed}.pt")
        publish(new, target)
    shutil.rmtree(target.with_name(f"{target.name}.failed"), ignore_errors=True)
    return target


def main(arguments: Sequence[str]) -> int:
    """Runs the command line and returns its exit code."""
    try:
        target = make_report(parse_parameters(arguments), arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (NotebookError, TrainingError) as error:
        print(f"failed: {error}\nNo report was written or replaced; finished runs are kept.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted: no report was written or replaced; finished runs are kept.", file=sys.stderr)
        return 130
    print(f"report    {(target / 'report.html').relative_to(REPORTS.parent)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
