"""A report is left as it is only where nothing of what it is made of has changed."""

import json
import os
import shutil
import site
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import QUICK, tree
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib import _files
from lib._errors import UserError
from lib._files import ROOT
from lib.data.dataset import SYNTHETIC
from lib.report import __main__ as command
from lib.report import make, unchanged
from lib.report.unchanged import RECORD, Last, Section, find_last, inputs, run_hashes, why, without_force, write_record

ARGUMENTS = ("DATASET=images", "SEEDS=2")
FILES = {
    "lib/evaluation.py": "score = 1",
    "lib/claims/verdicts.py": "level = 0.05",
    "lib/report/page.py": "",
    "lib/report/notebooks.py": "",
    "lib/figures/study.mplstyle": "axes.grid: True",
    "lib/report/template/page.j2": "<main>",
    "notebooks/1_data.ipynb": "{}",
    "notebooks/3_claims.ipynb": "{}",
    "reports/reference/warwick/results.json": "{}",
    "requirements.lock": "torch==2.13.0",
    "images/Train/image_1.png": "pixels",
    "images/Train/label_1.png": "masks",
    "images/Grade.csv": "name,patient",
    "site/torch-2.13.0.dist-info/METADATA": "",
    "reports/images/report.html": "<html>",
    "reports/images/results.json": "{}",
    "reports/images/figures/figure-1.svg": "<svg>",
    "reports/images/notebooks/1_data.ipynb": "executed",
    "reports/images/notebooks/3_claims.ipynb": "executed",
    "runs/abc/run.pt": "weights",
}
DATA, CLAIMS = "1_data.ipynb", "3_claims.ipynb"
SECTIONS = {
    DATA: Section(seconds=1.0, modules=["lib/evaluation.py"]),
    CLAIMS: Section(seconds=2.0, modules=["lib/evaluation.py", "lib/claims/verdicts.py"]),
}


def write(project: Path, name: str, text: str) -> None:
    (project / name).parent.mkdir(parents=True, exist_ok=True)
    (project / name).write_text(text, encoding="utf-8")


def record_now(arguments: tuple[str, ...] = ARGUMENTS) -> None:
    """Writes into the report that it was made with these arguments of what is there now."""
    write_record(_files.REPORTS / "images", arguments, inputs(arguments), SECTIONS, run_hashes(["abc/run.pt"]))


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """A small project with one report, which is what lib takes for its own."""
    monkeypatch.setattr(_files, "ROOT", tmp_path)
    monkeypatch.setattr(_files, "REPORTS", tmp_path / "reports")
    monkeypatch.setattr(_files, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(_files, "cores", lambda: 2)
    monkeypatch.setattr(site, "getsitepackages", lambda: [str(tmp_path / "site")])
    for name, text in FILES.items():
        write(tmp_path, name, text)
    record_now()
    return tmp_path


def reasons(arguments: tuple[str, ...] = ARGUMENTS) -> list[str]:
    return find_last(arguments, inputs(arguments)).reasons


def reusable() -> set[str]:
    return set(find_last(ARGUMENTS, inputs(ARGUMENTS)).reusable(run_hashes(["abc/run.pt"])))


def same_size_and_time(project: Path) -> None:
    image = project / "images/Train/image_1.png"
    before = image.stat()
    image.write_text("pixelz")
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace_the_folder_by_a_link(project: Path) -> None:
    (project / "images").rename(project / "others")
    (project / "images").symlink_to("others")


def truncate(project: Path) -> None:
    record = project / "reports/images" / RECORD
    record.write_bytes(record.read_bytes()[:-20])


def replace_in_record(old: str, new: str) -> Callable[[Path], None]:
    def edit(project: Path) -> None:
        record = project / "reports/images" / RECORD
        assert old in record.read_text()
        record.write_text(record.read_text().replace(old, new))

    return edit


def copy_in_place_of_it(project: Path) -> None:
    (project / "reports/images").rename(project / "reports/kept")


def link_in_place_of_it(project: Path) -> None:
    (project / "reports/images").rename(project / "kept")
    (project / "reports/images").symlink_to(project / "kept")


NONE_MADE = "no report was made with these arguments"
UNFINISHED = "reports/images is in the making, or was left unfinished"
EDITS: dict[str, tuple[Callable[[Path], object], str]] = {
    "source": (lambda p: write(p, "lib/evaluation.py", "score = 2"), "lib/evaluation.py changed"),
    "source of one notebook": (
        lambda p: write(p, "lib/claims/verdicts.py", "level = 0.5"),
        "lib/claims/verdicts.py changed",
    ),
    "source of the page": (lambda p: write(p, "lib/report/page.py", "1"), "lib/report/page.py changed"),
    "source that executes": (lambda p: write(p, "lib/report/notebooks.py", "1"), "lib/report/notebooks.py changed"),
    "source in the place of another": (
        lambda p: write(p, "lib/claims/verdicts/__init__.py", ""),
        "lib/claims/verdicts/__init__.py changed",
    ),
    "source added": (lambda p: write(p, "lib/runs/new.py", ""), "lib/runs/new.py changed"),
    "source gone": (lambda p: (p / "lib/evaluation.py").unlink(), "lib/evaluation.py changed"),
    "notebook": (lambda p: write(p, "notebooks/1_data.ipynb", "[]"), "notebooks/1_data.ipynb changed"),
    "template": (lambda p: write(p, "lib/report/template/page.j2", ""), "lib/report/template/page.j2 changed"),
    "style": (lambda p: write(p, "lib/figures/study.mplstyle", ""), "lib/figures/study.mplstyle changed"),
    "reference": (
        lambda p: write(p, "reports/reference/warwick/results.json", ""),
        "reports/reference/warwick/results.json changed",
    ),
    "lock file": (lambda p: write(p, "requirements.lock", ""), "requirements.lock changed"),
    "data": (same_size_and_time, "data: Train/image_1.png changed"),
    "data added": (lambda p: write(p, "images/Train/image_2.png", ""), "data: Train/image_2.png changed"),
    "data gone": (lambda p: (p / "images/Grade.csv").unlink(), "data: Grade.csv changed"),
    "data unreadable": (lambda p: shutil.rmtree(p / "images"), "data: its folder changed"),
    "data elsewhere": (replace_the_folder_by_a_link, "data: its folder changed"),
    "package": (lambda p: (p / "site/numpy-2.dist-info").mkdir(), "an installed package changed"),
    "package installed again": (
        lambda p: os.utime(p / "site/torch-2.13.0.dist-info", (0, 0)),
        "an installed package changed",
    ),
    "output": (lambda p: write(p, "reports/images/report.html", "<b>"), "reports/images/report.html changed"),
    "executed notebook": (
        lambda p: write(p, f"reports/images/notebooks/{CLAIMS}", "forged"),
        f"reports/images/notebooks/{CLAIMS} changed",
    ),
    "output gone": (
        lambda p: (p / "reports/images/figures/figure-1.svg").unlink(),
        "reports/images/figures/figure-1.svg changed",
    ),
    "record gone": (lambda p: (p / "reports/images" / RECORD).unlink(), NONE_MADE),
    "record truncated": (truncate, NONE_MADE),
    "record of another shape": (lambda p: write(p, f"reports/images/{RECORD}", "[]"), NONE_MADE),
    "record without data": (replace_in_record('"data"', '"date"'), NONE_MADE),
    "record without a time": (replace_in_record('"made": "2', '"made": "x'), NONE_MADE),
    "machine": (replace_in_record('"the processor": "', '"the processor": "x'), "the processor changed"),
    "report renamed": (copy_in_place_of_it, NONE_MADE),
    "report a link": (link_in_place_of_it, NONE_MADE),
    "report gone": (lambda p: shutil.rmtree(p / "reports"), NONE_MADE),
    "failed since": (lambda p: (p / "reports/images.failed").mkdir(), UNFINISHED),
    "killed since": (lambda p: (p / "reports/.images.next-x").mkdir(), UNFINISHED),
}


def test_nothing_changed_is_told_with_time_and_page(project: Path):
    last = find_last(ARGUMENTS, inputs(ARGUMENTS))
    made = json.loads((project / "reports/images" / RECORD).read_text())["made"]
    assert last.reasons == []
    assert last.told.startswith("unchanged since 20")
    assert last.told.endswith(": reports/images/report.html")
    assert made.endswith("+00:00")


BOTH = {DATA, CLAIMS}
KEPT = {  # notebooks that an edit leaves as they are; any other edit leaves none
    "source of one notebook": {DATA}, "source of the page": BOTH, "template": BOTH, "notebook": {CLAIMS},
    "output": BOTH, "output gone": BOTH, "executed notebook": {DATA}, "failed since": BOTH, "killed since": BOTH,
}  # fmt: skip


@pytest.mark.parametrize("edit", EDITS)
def test_whatever_changed_is_a_reason_to_make_a_report_anew_with_the_notebooks_that_it_concerns(edit, project: Path):
    assert reasons() == []
    assert reusable() == BOTH
    change, reason = EDITS[edit]
    change(project)
    assert reason in reasons()
    assert reusable() == KEPT.get(edit, set())


@pytest.mark.parametrize("change", ["another", None])
def test_notebooks_are_executed_again_where_runs_were_trained_again(change, project: Path, capsys):
    write(project, "lib/report/page.py", "1")
    if change:
        write(project, "runs/abc/run.pt", change)
    else:
        (project / "runs/abc/run.pt").unlink()
    last = find_last(ARGUMENTS, inputs(ARGUMENTS))
    assert set(last.current) == BOTH
    assert reusable() == set(last.reusable(run_hashes(["abc/run.pt", "new/run.pt"]))) == set()
    why(ARGUMENTS)
    told = "make report: everything, because lib/report/page.py changed, a stored run changed\n"
    assert capsys.readouterr().out.startswith(told)


def test_an_executed_notebook_that_changes_at_the_last_moment_is_not_used_again(project: Path, tmp_path: Path):
    write(project, "lib/report/page.py", "1")
    last, new = find_last(ARGUMENTS, inputs(ARGUMENTS)), tmp_path / "new"
    new.mkdir()
    assert set(last.reuse(run_hashes(["abc/run.pt"]), new)) == BOTH
    write(project, f"reports/images/notebooks/{CLAIMS}", "forged")
    assert set(last.reuse(run_hashes(["abc/run.pt"]), new)) == {DATA}
    shutil.rmtree(project / "reports")
    assert last.reuse(run_hashes(["abc/run.pt"]), tmp_path / "others") == {}


def test_why_names_the_notebooks_that_would_be_executed(project: Path, capsys):
    def told() -> str:
        why(ARGUMENTS)
        return capsys.readouterr().out.splitlines()[0].removeprefix("make report: ")

    write(project, "lib/report/template/page.j2", "")
    assert told() == "the page, because lib/report/template/page.j2 changed"
    write(project, "lib/claims/verdicts.py", "")
    changed = "lib/claims/verdicts.py changed, lib/report/template/page.j2 changed"
    assert told() == f"1 of 2 notebooks (3_claims) and the page, because {changed}"


@pytest.mark.parametrize(
    "arguments",
    [(), ("DATASET=images",), (*ARGUMENTS, "SEEDS=3"), (*ARGUMENTS, "NAME=images"), (*ARGUMENTS, "STUDY=yes"),
     ("DATASET=./images", "SEEDS=2")],
)  # fmt: skip
def test_other_arguments_ask_for_another_report(arguments, project: Path):
    assert reasons(arguments) == [NONE_MADE]


def test_arguments_in_another_order_ask_for_the_same_report_unless_the_last_of_a_name_differs(project: Path):
    assert reasons(ARGUMENTS[::-1]) == []
    assert reasons(("SEEDS=3", *ARGUMENTS)) == []
    assert reasons((*ARGUMENTS, "SEEDS=3")) == [NONE_MADE]


@pytest.mark.parametrize(("name", "counts"), [("REPORT_RUNS", True), ("PYTHONPATH", True), ("EDITOR", False)])
def test_environment_variables_that_may_have_a_say_count(name, counts, project: Path, monkeypatch):
    monkeypatch.setenv(name, "another")
    assert reasons() == ([f"the environment variable {name} changed"] if counts else [])


def test_processors_count_where_they_decide_the_number_of_workers(project: Path, monkeypatch):
    given = (*ARGUMENTS, "WORKERS=2")
    monkeypatch.setattr(_files, "cores", lambda: 3)
    assert reasons() == ["the number of processors changed"]
    record_now(given)
    monkeypatch.setattr(_files, "cores", lambda: 4)
    assert reasons(given) == []


def test_what_others_put_into_a_report_and_reports_beside_it_are_no_reason(project: Path):
    write(project, "reports/images/report.pdf", "%PDF")
    write(project, "reports/images-2.failed/results.json", "{}")
    write(project, "reports/.another.new/temporary", "")
    assert reasons() == []


def test_data_that_cannot_be_read_whole_are_never_taken_for_the_same(project: Path, monkeypatch):
    os.mkfifo(project / "images/pipe")  # reading it would never end
    record_now()
    assert reasons() == ["data: pipe changed"]
    monkeypatch.setattr(unchanged, "LARGEST", 5)
    record_now()
    assert reasons() == ["data: too large to compare, may have changed"]


def test_links_among_folders_of_data_that_lead_round_end(project: Path):
    (project / "images/Train/up").symlink_to("..")
    record_now()
    assert reasons() == []


def test_no_file_of_lib_or_notebooks_is_forgotten():
    listed = subprocess.run(
        ("git", "ls-files", "lib", "notebooks"), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(listed.stdout.split()) <= unchanged.source_hashes().keys()


def test_the_embedded_set_has_no_files():
    assert unchanged.EMBEDDED == SYNTHETIC
    assert inputs(["SEEDS=1"])["data"] == inputs(["DATASET=synthetic"])["data"] == {}


EDITED = (
    "lib/evaluation.py", "notebooks/1_data.ipynb", "images/Grade.csv", "images/new.png",
    "reports/images/figures/figure-1.svg",
)  # fmt: skip
BACK = "as it was"


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])  # deleting folders is slow
@given(st.lists(st.tuples(st.sampled_from(EDITED), st.sampled_from(("another", None, BACK))), max_size=8))
def test_after_any_edits_a_report_is_left_only_where_everything_is_as_it_was(project: Path, edits):
    now = {}
    for name, edit in (*((name, BACK) for name in EDITED), *edits):
        now[name] = FILES.get(name) if edit == BACK else edit
        if now[name] is None:
            (project / name).unlink(missing_ok=True)
        else:
            write(project, name, now[name])
    assert (reasons() == []) == all(text == FILES.get(name) for name, text in now.items())


def test_why_names_what_would_be_redone_and_because_of_what(project: Path, capsys):
    study = "make study: everything, because no report was made with these arguments\n"
    why(ARGUMENTS)
    nothing, rest = capsys.readouterr().out.split("\n", 1)
    assert nothing.startswith("make report: nothing: unchanged since ")
    assert rest == study
    for name in ("lib/a.py", "lib/b.py", "lib/c.py", "lib/d.py"):
        write(project, name, "")
    why(ARGUMENTS)
    changed = "lib/a.py changed, lib/b.py changed, lib/c.py changed and 1 more"
    assert capsys.readouterr().out == f"make report: everything, because {changed}\n{study}"
    why((*ARGUMENTS, "FORCE=1"))
    assert "make report: everything, because of FORCE=1\n" in capsys.readouterr().out


def test_force_has_one_value():
    assert without_force(("SEEDS=1", "FORCE=1")) == (["SEEDS=1"], True)
    assert without_force(("SEEDS=1",)) == (["SEEDS=1"], False)
    with pytest.raises(UserError, match="FORCE=no: expected FORCE=1"):
        without_force(("FORCE=no",))


@pytest.mark.parametrize(("more", "made"), [((), False), (("FORCE=1",), True), (("EPOCHS=2",), True)])
def test_the_command_makes_a_report_unless_there_is_no_reason_to(more, made, project: Path, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(make, "make", lambda *given: calls.append(given))
    monkeypatch.setattr(sys, "argv", ["lib.report", *ARGUMENTS, *more])
    command.main()
    kept = [*ARGUMENTS, *(argument for argument in more if argument != "FORCE=1")]
    last = Last(["of FORCE=1"]) if "FORCE=1" in more else find_last(kept, inputs(kept))
    assert calls == ([(kept, inputs(kept), last)] if made else [])
    assert capsys.readouterr().out.startswith("unchanged since ") != made


def test_make_why_is_a_command_of_its_own():
    asked = ("make", "-s", "-C", ROOT, "why", f"PYTHON={sys.executable}", "DATASET=/no/such/folder")
    process = subprocess.run(asked, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("make report: everything, because no report was made with these arguments\n")


def test_a_real_report_is_left_byte_for_byte_without_importing_torch(made_once: Path, tmp_path: Path):
    reports = tmp_path / "reports"
    shutil.copytree(made_once, reports / made_once.name)
    before = tree(reports)
    program = (
        "import pathlib, runpy, sys; from lib import _files; _files.REPORTS = pathlib.Path(sys.argv.pop(1));"
        "runpy.run_module('lib.report', run_name='__main__')"
    )
    asked = (sys.executable, "-X", "importtime", "-c", program, reports, f"DATASET={made_once.parents[1] / 'discs'}")
    started = time.monotonic()
    process = subprocess.run((*asked, *QUICK), cwd=ROOT, capture_output=True, text=True)
    assert time.monotonic() - started < 2
    assert (process.returncode, process.stdout[:16]) == (0, "unchanged since "), process.stdout
    assert process.stdout.endswith(": reports/discs/report.html\n")
    assert tree(reports) == before
    assert "lib.report.unchanged" in process.stderr
    assert "torch" not in process.stderr
    assert "numpy" not in process.stderr
