"""The committed notebooks, before they run; nbval runs them (`make test`)."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from statistics import median

import nbformat
import pytest

from lib._files import ROOT
from lib.claims.verdicts import CLAIMS, QUOTES
from lib.report.notebooks import NOTEBOOKS, STUDY_NOTEBOOKS, check_injection, chosen, notebook_parameters, public_path
from lib.report.parameters import Parameters

INDEX = ROOT / "notebooks" / "0_index.ipynb"
ALL = NOTEBOOKS + STUDY_NOTEBOOKS
READ = {path.stem: nbformat.read(path, as_version=4) for path in ALL}
IGNORED = "nbval-ignore-output"


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_of_the_folder_is_in_the_report_but_the_index():
    assert sorted(ROOT.glob("notebooks/*.ipynb")) == [INDEX, *sorted(ALL)]


def test_index_leads_to_every_notebook_by_its_title_and_computes_nothing():
    cells = nbformat.read(INDEX, as_version=4).cells
    assert {cell.cell_type for cell in cells} == {"markdown"}
    links = re.findall(r"\[(.+?)\]\((.+?)\)", "".join(cell.source for cell in cells))
    titles = {stem: notebook.cells[0].source.splitlines()[0].removeprefix("## ") for stem, notebook in READ.items()}
    assert links == [(title, f"{stem}.ipynb") for stem, title in titles.items()]


@pytest.mark.parametrize("stem", READ)
def test_cells_are_compared_with_their_outputs_or_say_that_they_are_not(stem):
    cells = code_cells(READ[stem])
    for cell in cells:
        ignored = IGNORED in cell.metadata.get("tags", [])
        assert ignored == (cell.execution_count is None), cell.source
        assert not (ignored and cell.outputs), cell.source
    assert any(cell.outputs for cell in cells)


def test_dataset_parameter_counts_and_worked_examples_are_among_what_is_compared():
    text = {
        stem: "".join(
            output.data["text/plain"] + output.data.get("text/markdown", "")
            for cell in code_cells(notebook)
            for output in cell.outputs
        )
        for stem, notebook in READ.items()
    }
    assert "128x128" in text["1_data"]
    assert "8499" in text["2.1_segmentation"]
    assert "<All keys matched successfully>" in text["2.2b_dropout"]  # the networks have the same weights
    assert "0.944  0.667" in text["2.1_segmentation"]
    assert "2 * torch.sum(a == b) / (a.numel() + b.numel())" in text["2.1_segmentation"]


@pytest.mark.parametrize("stem", READ)
def test_notebooks_define_nothing_and_keep_their_cells_short(stem):
    framing = {"parameters", "setup"}
    sources = [cell.source for cell in code_cells(READ[stem])]
    lengths = [
        len(cell.source.splitlines())
        for cell in code_cells(READ[stem])
        if not framing & set(cell.metadata.get("tags", []))
    ]
    assert max(lengths) <= 10
    assert median(lengths) <= 4
    for source in sources:
        assert not any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_parameters_are_those_that_make_report_gives(path):
    defaults = notebook_parameters(path)
    values = Parameters().of_notebooks()
    assert {name: type(value) for name, value in defaults.items()} == {
        name: type(value) for name, value in values.items()
    }
    check_injection(path, values)


def test_a_report_of_several_runs_shows_where_they_agree_beside_the_network_of_today():
    beside = {seeds: chosen(full=False, possible=True, repeats=8, seeds=seeds)[1] for seeds in (1, 2)}
    assert beside[2] == [*beside[1], 26]
    assert 26 not in chosen(full=False, possible=False, repeats=8, seeds=2)[1]
    assert chosen(full=True, possible=True, repeats=8, seeds=2)[1][-5:] == [25, 26, 19, 20, 21]


@pytest.mark.parametrize("stem", [stem for stem in READ if stem.startswith("2")])
def test_statements_of_the_study_are_marked(stem):
    markdown = [cell.source for cell in READ[stem].cells if cell.cell_type == "markdown"]
    quotes = [line for source in markdown for line in source.splitlines() if line.startswith("> **THE STUDY**")]
    assert quotes
    assert READ[stem].cells[0].source.startswith("## 2.")


def test_claims_are_quoted_with_the_words_that_the_notebooks_quote():
    assert list(QUOTES) == [claim.id for claim in CLAIMS]
    markdown = [cell.source for notebook in READ.values() for cell in notebook.cells if cell.cell_type == "markdown"]
    quoted = " ".join(" ".join(markdown).replace("\n>", " ").split())
    for claim, quote in QUOTES.items():
        assert quote in quoted, claim


def test_reader_sees_the_code_that_runs():
    """The score, both networks, the training loop and the noise are shown live from lib, not as copies."""
    sources = {stem: "".join(cell.source for cell in code_cells(notebook)) for stem, notebook in READ.items()}
    for name in ("DSC", "shallower_CNN_segment", "train_epoch"):
        assert f"getsource({name})" in sources["2.1_segmentation"]
    assert "getsource(gaussian_noise)" in sources["2.2a_noise"]
    assert "getsource(dropout_CNN_segment)" in sources["2.2b_dropout"]


@pytest.mark.slow
def test_nbval_notices_a_changed_output(tmp_path: Path):
    notebook = nbformat.read(ROOT / "notebooks" / "2.1_segmentation.ipynb", as_version=4)
    kept = [cell for cell in notebook.cells if IGNORED not in cell.metadata.get("tags", [])]
    example = next(cell for cell in kept if "half_found" in cell.source)
    notebook.cells = kept[: kept.index(example) + 1]

    def nbval() -> subprocess.CompletedProcess[str]:
        nbformat.write(notebook, tmp_path / "changed.ipynb")
        command = (sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "-q", "-W", "default")
        return subprocess.run(
            (*command, "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path), capture_output=True, text=True
        )

    assert nbval().returncode == 0
    for mime in ("text/plain", "text/html"):
        example.outputs[0].data[mime] = example.outputs[0].data[mime].replace("0.667", "0.668")
    changed = nbval()
    assert changed.returncode == 1
    assert "0.668" in changed.stdout


@pytest.mark.parametrize(
    ("given", "told"), [("data/nuclei", "data/nuclei"), ("/a/b", ".../b"), ("../x/b", ".../b"), ("~/b", ".../b")]
)
def test_a_report_tells_no_folder_outside_the_project(given: str, told: str):
    assert public_path(given) == told
