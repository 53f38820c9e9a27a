"""Runs the report's notebooks, and accepts one only if every cell completed."""

import ast
import base64
import contextlib
import json
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from tqdm import tqdm
from traitlets.config import Config

from lib._errors import FailedRun, shortened
from lib._files import ROOT
from lib.report.unchanged import Section

NOTEBOOKS = tuple(
    ROOT / "notebooks" / f"{stem}.ipynb"
    for stem in ("1_data", "2.1_segmentation", "2.2a_noise", "2.2b_dropout", "2.2c_l2", "3_claims", "4_possible")
)
FIGURES = [1, 2, 3, *range(12, 19), 22, 23, 24]  # of the data; 12 to 17 as in the study; of the claims; of a U-Net
STUDY_NOTEBOOKS = (ROOT / "notebooks" / "5_side_experiments.ipynb",)  # beside the others, in a full study
STUDY_FIGURES = [19, 20, 21]
LADDER_FIGURE = 25  # of a full study with folds and the U-Net
AGREEMENT_FIGURE = 26  # of several runs, beside the U-Net
CELL_TIMEOUT = 1800  # seconds; a cell takes a few, since all runs are in the store before notebooks start
LARGEST_OUTPUT = 50_000_000  # characters of one cell; a table has thousands, a figure a million
# Evaluated in a kernel at its end: the files of lib that it has imported.
IMPORTED = "':'.join(m.__file__ for n, m in [*__import__('sys').modules.items()] if n.split('.')[0] == 'lib')"


class NotebookError(FailedRun):
    """A notebook did not run to its end: which one, in which cell, and why."""


class EndlessOutputError(RuntimeError):
    """A cell that printed more than LARGEST_OUTPUT, and was ended."""


class _Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill has no types
    """Runs a notebook's cells, ends one that prints without end, and asks what was imported."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.printed: Counter[int] = Counter()  # characters, by the cell's index

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> NotebookNode | None:
        self.printed[cell_index] += len(str(msg["content"]))
        if self.printed[cell_index] > LARGEST_OUTPUT:
            self.shutdown_kernel = "immediate"
            self.task_poll_for_reply.cancel()  # what nbclient does when the kernel has died
            return None
        return super().process_message(msg, cell, cell_index)

    def papermill_execute_cells(self) -> None:
        try:
            super().papermill_execute_cells()
        except DeadKernelError:
            if max(self.printed.values(), default=0) > LARGEST_OUTPUT:
                raise EndlessOutputError(f"expected at most {LARGEST_OUTPUT:,} characters of output") from None
            raise
        if incomplete_cell(self.nb) is None:
            asked = self.kc.execute("", silent=True, user_expressions={"imported": IMPORTED})
            told = self.wait_for_reply(asked)["content"]["user_expressions"]["imported"]
            self.nb.metadata["imported"] = list(filter(None, told["data"]["text/plain"].strip("'").split(":")))


class _Engine(Engine):  # type: ignore[misc]
    """papermill's way to a kernel, with our client."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **settings: Any) -> None:
        own = {"timeout", "startup_timeout", "iopub_timeout", "config"}
        given = {name: value for name, value in settings.items() if name in own}
        _Client(nb_man, kernel_name=kernel_name, **given).execute()


papermill_engines.register("report", _Engine)


def notebook_parameters(path: Path) -> dict[str, Any]:
    """Returns the names and defaults in a notebook's cell tagged "parameters", which holds literals only."""
    cells = [
        cell
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if "parameters" in cell["metadata"].get("tags", [])
    ]
    assignments = [node for cell in cells for node in ast.parse("".join(cell["source"])).body]
    return {ast.unparse(node.targets[0]): ast.literal_eval(node.value) for node in assignments}  # type: ignore[attr-defined]


def check_injection(path: Path, values: Mapping[str, Any]) -> None:
    """Refuses what papermill would inject in silence: raises NotebookError for a name or type the notebook lacks.

    Not to be called from several threads: `ast.parse` fails in them now and then under Python 3.11.
    """
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
    """Returns a dataset's path as a report may tell it: as it was given, without its folders outside the project."""
    outside = Path(dataset).is_absolute() or ".." in Path(dataset).parts or dataset.startswith("~")
    return f".../{Path(dataset).name}" if outside else dataset


def kernel_environment(folder: Path) -> dict[str, str]:
    """Returns environment variables that keep other people's settings out of kernels and page, with what they point to.

    A kernel runs this interpreter, finds this checkout first, and knows no startup files, templates or styles of the
    user's. matplotlib's folder stays, since its list of fonts takes seconds.
    """
    spec = folder / "jupyter" / "share" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    # A kernel that is ended may log the interrupt as an error; what goes wrong in a cell is told by the cell.
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=CRITICAL"]
    spec.write_text(json.dumps({"argv": command, "display_name": "Python 3", "language": "python"}), encoding="utf-8")
    folders = {
        "JUPYTER_PATH": "jupyter/share",  # the first where kernels and templates are looked for
        "JUPYTER_DATA_DIR": "jupyter/data",
        "JUPYTER_CONFIG_DIR": "jupyter/config",
        "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
        "IPYTHONDIR": "ipython",
    }
    search = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {name: str(folder / inner) for name, inner in folders.items()} | {
        "TMPDIR": str(folder),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTER_NO_CONFIG": "1",
        "MPLCONFIGDIR": str(ROOT / "data" / "cache" / "matplotlib"),
        "PYTHONPATH": os.pathsep.join(filter(None, search)),
        "PYTHONUTF8": "1",
        "OMP_NUM_THREADS": "1",  # kernels run beside each other: threads of two wait, and round otherwise than one
    }


def execute_notebook(source: Path, target: Path, values: Mapping[str, Any], timeout: int) -> Section:
    """Runs one notebook from top to bottom in a kernel of its own.

    Args:
        source: the notebook, with a cell tagged "parameters".
        target: where the executed one is written, as far as it came: without the cells tagged "explore", and with
            nothing that tells when it ran or in which folder.
        values: replace defaults of that cell.
        timeout: seconds that one cell may take.

    Returns:
        How it was executed: every cell ran.

    Raises:
        NotebookError: an exception, a dead kernel, a timeout or output without end, with the cell in which it happened.
    """
    started = time.monotonic()
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its errors are told once, below
    asked = nbformat.read(source, as_version=4)
    # Widgets are for JupyterLab, and no part of a report.
    asked.cells = [cell for cell in asked.cells if "explore" not in cell.metadata.get("tags", [])]
    cause: Exception | None = None
    # Sockets in a folder of their own: on TCP other users of the machine could read along, and ipykernel warns of it.
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        transport = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/socket"}})
        try:
            papermill.execute_notebook(
                asked, target, dict(values), engine_name="report", kernel_name="python3", progress_bar=False,
                timeout=timeout, iopub_timeout=timeout, startup_timeout=120, config=transport,
            )  # fmt: skip
        except Exception as error:
            cause = error
    notebook = None
    with contextlib.suppress(OSError, nbformat.reader.NotJSONError):  # a full disk leaves an empty file, or none
        notebook = nbformat.read(target, as_version=4)
    where = incomplete_cell(notebook) if notebook else "before its first cell"
    if cause or where or notebook is None:
        name, reason = getattr(cause, "ename", type(cause).__name__), str(getattr(cause, "evalue", cause)).strip()
        told = shortened(": ".join([name, *reason.splitlines()[:1]])) if cause else "ended before its last cell"
        raise NotebookError(f"{source.name}, {where}: {told}") from cause
    notebook.metadata.pop("papermill")  # tells the time and the folder
    imported = notebook.metadata.pop("imported")
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.id = "injected-parameters"  # papermill's is random
            shown = {name: public_path(value) if name == "dataset" else value for name, value in values.items()}
            shown.pop("data_key", None)  # of this machine: whoever runs the notebook again reads the data anew
            cell.source = "\n".join(["# Parameters", *(f"{name} = {value!r}" for name, value in shown.items())])
    nbformat.write(notebook, target)
    modules = sorted(os.path.relpath(file, ROOT) for file in imported)
    return Section(seconds=round(time.monotonic() - started, 1), modules=modules)


def execute_notebooks(
    sources: Sequence[Path], folder: Path, values: Mapping[str, Any], workers: int
) -> dict[str, Section]:
    """Runs notebooks, some at the same time, into a folder, and returns by name how each was executed.

    Raises:
        NotebookError: the first, after all have ended.
    """
    with ThreadPoolExecutor(workers) as pool:
        futures = [
            pool.submit(execute_notebook, source, folder / source.name, values, CELL_TIMEOUT) for source in sources
        ]
        try:
            done = [future.result() for future in tqdm(futures, desc="notebooks", unit="notebook", disable=not sources)]
        except BaseException:  # Ctrl-C above all: kernels have sessions of their own and would go on
            pool.shutdown(wait=False, cancel_futures=True)
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):  # it may have ended by itself
                    if "ipykernel_launcher" in child.cmdline():
                        child.kill()
            raise
    return {source.name: section for source, section in zip(sources, done, strict=True)}


def chosen(full: bool, possible: bool, repeats: int, seeds: int) -> tuple[tuple[Path, ...], list[int]]:
    """Returns the notebooks of a report, and the numbers of their figures in order."""
    sources, figures = NOTEBOOKS, list(FIGURES)
    if not possible:
        sources, figures = NOTEBOOKS[:-1], [number for number in FIGURES if number < 22]
    else:
        figures += [LADDER_FIGURE] * bool(full and repeats) + [AGREEMENT_FIGURE] * (seeds > 1)
    # The side experiments are shown by their divisions into folds.
    return (sources + STUDY_NOTEBOOKS, figures + STUDY_FIGURES) if full and repeats else (sources, figures)


def write_figures(notebooks: Sequence[NotebookNode], folder: Path, expected: Sequence[int]) -> None:
    """Writes every figure as PNG and SVG; raises NotebookError if one is missing, doubled or has no alt text."""
    found = []
    for output in (output for nb in notebooks for cell in nb.cells for output in cell.get("outputs", [])):
        if figure := output.get("metadata", {}).get("report_figure"):
            found.append(figure["number"] if figure["alt"].strip() else None)
            stem = folder / f"figure-{figure['number']}"
            stem.with_suffix(".png").write_bytes(base64.b64decode(output.data["image/png"]))
            stem.with_suffix(".svg").write_text(output.data["image/svg+xml"], encoding="utf-8")
    if found != list(expected):
        raise NotebookError(f"figures: expected {list(expected)} with alt texts, found {found}")
