"""What an edit leaves of a real report, and that what is published then equals a report made from nothing."""

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import nbformat
import pytest
from conftest import QUICK, tree, without_times
from hypothesis import given, settings
from hypothesis import strategies as st

from lib import _files
from lib._files import ROOT
from lib.report.notebooks import NOTEBOOKS
from lib.report.unchanged import EXECUTING, RECORD, find_last, inputs, source_hashes

SOURCES = sorted(source_hashes())
ALL = {notebook.stem for notebook in NOTEBOOKS}
EDITS = {  # of what a reader sees: file, a text in it, another in its place, the notebooks that have to be executed
    "the page's template": ("lib/report/template/index.html.j2", "how this was made", "how it was made", set()),
    "what only the page imports": ("lib/report/page.py", "Back to the text", "Back to its text", set()),
    "a module of the page's pictures": ("lib/figures/gallery.py", "}, seed {", "}, seed no. {", set()),
    "a sentence of a notebook": (
        "notebooks/2.1_segmentation.ipynb", "Two images cannot show", "Two of them cannot show", {"2.1_segmentation"},
    ),
    "the figure of effects": ("lib/figures/effects.py", "in the grey band", "in the band", {"3_claims"}),
    "what lies beside the scores": ("lib/claims/beside.py", "is better in", "does better in", {"3_claims"}),
    "a table of section 4": ("lib/figures/possible.py", "best constant answer", "constant, the best", {"4_possible"}),
    "sentences": ("lib/claims/words.py", "The same answer for", "One answer for", ALL),
    "code that a notebook shows": ("lib/training.py", "Trains on every image once", "Trains once on every image", ALL),
    "the style of figures": ("lib/figures/report.mplstyle", "axes.labelsize: 9", "axes.labelsize: 8", ALL),
}  # fmt: skip


def copy_of(made_once: Path, project: Path) -> Path:
    """Copies the sources and that report of them into a project of their own."""
    for name in SOURCES:
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    shutil.copytree(made_once, project / "reports" / made_once.name)
    return project


def arguments(made_once: Path) -> tuple[str, ...]:
    return f"DATASET={made_once.parents[1] / 'discs'}", *QUICK


def swap(project: Path, edit: str) -> None:
    """Makes an edit, or takes it back."""
    name, one, other, _ = EDITS[edit]
    text = (project / name).read_text(encoding="utf-8")
    assert (one in text) != (other in text)
    (project / name).write_text(text.replace(one, other) if one in text else text.replace(other, one), encoding="utf-8")


@pytest.fixture(scope="module")
def project(made_once: Path, tmp_path_factory) -> Iterator[Path]:
    """A copy that lib takes for its own project; whoever edits it takes that back."""
    copy = copy_of(made_once, tmp_path_factory.mktemp("project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_files, "ROOT", copy)
        patch.setattr(_files, "REPORTS", copy / "reports")
        yield copy


@pytest.fixture(scope="module")
def read(made_once: Path) -> dict[str, set[str]]:
    """What the kernel of each notebook read of the sources, as real kernels told at their end."""
    sections = json.loads((made_once / RECORD).read_bytes())["sections"]
    return {Path(name).stem: {f"notebooks/{name}", *section["modules"]} for name, section in sections.items()}


def current(made_once: Path) -> set[str]:
    given = arguments(made_once)
    return {Path(name).stem for name in find_last(given, inputs(given)).current}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_leaves_the_notebooks_that_it_does_not_concern(edit, made_once: Path, project: Path):
    swap(project, edit)
    try:
        assert current(made_once) == ALL - EDITS[edit][3]
    finally:
        swap(project, edit)
    assert current(made_once) == ALL


@settings(max_examples=200)
@given(st.sets(st.sampled_from(SOURCES), max_size=4), st.sampled_from(["longer", "gone"]))
def test_after_any_edits_those_notebooks_are_left_that_had_read_nothing_of_it(made_once, project, read, edited, how):
    of_all = {name for name in SOURCES if not name.startswith(("lib/report/template/", "notebooks/"))}
    of_all = {name for name in of_all if not name.endswith(".py")} | set(EXECUTING)
    for name in edited:
        (project / name).write_bytes((ROOT / name).read_bytes() + b"\n" if how == "longer" else b"")
        if how == "gone":
            (project / name).unlink()
    try:
        assert current(made_once) == {stem for stem, files in read.items() if not edited & (files | of_all)}
    finally:
        for name in edited:
            shutil.copy(ROOT / name, project / name)


def test_kernels_tell_all_that_notebooks_import_and_nothing_else(read):
    graph = grimp.build_graph("lib", cache_dir=None)
    for notebook in NOTEBOOKS:
        cells = nbformat.read(notebook, as_version=4).cells
        code = [c.source for c in cells if c.cell_type == "code" and "explore" not in c.metadata.get("tags", [])]
        direct = {
            node.module
            for node in ast.walk(ast.parse("\n".join(code)))
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "lib"
        }
        beyond = direct.union(*(graph.find_upstream_modules(module) for module in direct))
        beyond |= {module.rpartition(".")[0] for module in beyond}
        told = {
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in read[notebook.stem] - {f"notebooks/{notebook.name}"}
        }
        assert direct <= told <= beyond


def published(report: Path) -> dict[str, object]:
    """Returns what a report holds, without what tells time."""
    files: dict[str, object] = {name: content for name, content in tree(report).items() if name != RECORD}
    results = json.loads((report / "results.json").read_bytes())
    page = (report / "report.html").read_text(encoding="utf-8").replace(results["provenance"]["started"][:10], "")
    files["report.html"] = re.sub(r"<dt[^>]*>(Time|Files)</dt><dd>.*?</dd>", "", page)
    return files | {"results.json": without_times(results)}


def make_report(made_once: Path, project: Path, *more: str) -> tuple[str, dict[str, object]]:
    command = (sys.executable, "-m", "lib.report", *arguments(made_once), *more)
    process = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout, published(project / "reports" / made_once.name)


@pytest.mark.slow
def test_what_is_published_after_edits_equals_a_report_from_nothing(made_once: Path, tmp_path: Path):
    """Of the edits that leave notebooks, some at a time: what one report reused, the next one reuses."""
    project = copy_of(made_once, tmp_path)
    said, before = make_report(made_once, project)
    assert said.startswith("unchanged since ")
    edits = [edit for edit in EDITS if EDITS[edit][3] != ALL]
    for some in (edits[:3], edits[4:6], edits[3::3]):
        for edit in some:
            swap(project, edit)
        executed = set().union(*(EDITS[edit][3] for edit in some))
        said, after = make_report(made_once, project)
        assert f"notebooks: {len(executed)} of {len(ALL)} are executed; the others are unchanged" in said
        assert after != before
        before = after
    said, whole = make_report(made_once, project, "FORCE=1")
    assert "unchanged" not in said
    assert after == whole
