import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean

import faulty
import nbformat
import numpy as np
import psutil
import pytest
import torch
from conftest import QUICK, draw_discs, tree, without_times, write_dataset
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from lib import _files
from lib._errors import UserError
from lib._files import ROOT, publish, recover
from lib.claims.intervals import LOOKS
from lib.data.dataset import Dataset
from lib.report import make, notebooks
from lib.report.make import _until_decided, main
from lib.report.notebooks import (
    FIGURES,
    NOTEBOOKS,
    STUDY_FIGURES,
    NotebookError,
    check_injection,
    execute_notebook,
    incomplete_cell,
)
from lib.report.parameters import Parameters, parse_parameters, report_target, source_of
from lib.runs.plan import EXPERIMENTS, VARIANTS


@pytest.fixture(autouse=True)
def reports(tmp_path_factory, monkeypatch) -> Path:
    """Reports go to a folder of the test's own."""
    folder = tmp_path_factory.mktemp("reports")
    monkeypatch.setattr(_files, "REPORTS", folder)
    return folder


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [new_code_cell(source) for source in sources]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


PARAMETERS_CELL = (
    'dataset = ""\ndata_key = ""\nseeds = 1\nepochs = 1\nlearning_rate = 0.001\nprecision = ""\nworkers = 1\n'
    'stain = ""\nsize = 0\ntest_fraction = 0.5\nforeground = ""\nstudy = False\nrepeats = 8\n'
    'until = ""\npossible = True'
)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("SEED=5", "SEED: unknown parameter; did you mean SEEDS?"),
        ("seeds=5", "seeds: unknown parameter; did you mean SEEDS?"),
        (
            "XYZ=1",
            "XYZ: unknown parameter; known: DATASET, SEEDS, EPOCHS, LEARNING_RATE, PRECISION, STAIN",
        ),
        ("SEEDS=three", "SEEDS: expected a valid integer, found 'three'"),
        ("SEEDS=1.5", "SEEDS: expected a valid integer, found '1.5'"),
        ("SEEDS=", "SEEDS: expected a valid integer, found ''"),
        ("SEEDS=0", "SEEDS: expected greater than or equal to 1, found '0'"),
        ("EPOCHS=-1", "EPOCHS: expected greater than or equal to 1, found '-1'"),
        ("WORKERS=0", "WORKERS: expected greater than or equal to 1, found '0'"),
        ("LEARNING_RATE=nan", "LEARNING_RATE: expected less than or equal to 1, found 'nan'"),
        ("STAIN=hed", "STAIN: expected 'rgb' or 'unmixed', found 'hed'"),
        ("SIZE=33", "SIZE=33: expected an even number from 16 to 1024, found '33'"),
        ("TEST_FRACTION=1", "TEST_FRACTION: expected less than 1, found '1'"),
        ("PRECISION=fp16", "PRECISION: expected 'fp32' or 'bf16', found 'fp16'"),
        ("LEARNING_RATE=fast", "LEARNING_RATE: expected a valid number, found 'fast'"),
        ("DATASET=/no/such/folder", "DATASET=/no/such/folder: expected 'synthetic' or a folder"),
    ],
)
def test_bad_parameter_ends_with_exit_code_2_and_one_line(argument, message, capsys, reports):
    assert main([argument]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert list(reports.iterdir()) == []


def test_parameters_are_read_with_their_types():
    parameters = parse_parameters(["DATASET=a b=c", "SEEDS=2", "LEARNING_RATE=1e-4"])
    assert (parameters.dataset, parameters.seeds, parameters.learning_rate) == ("a b=c", 2, 1e-4)
    assert parameters.epochs == Parameters().epochs == 60


def test_a_report_ends_with_its_scores_and_what_they_say_on_the_terminal(tmp_path: Path, monkeypatch, capsys):
    reference = ROOT / "reports" / "reference" / "warwick" / "results.json"
    shutil.copy(reference, tmp_path)
    monkeypatch.setattr(make, "make_report", lambda *_: tmp_path)
    monkeypatch.setattr(make._files, "REPORTS", tmp_path)
    make.make([], {}, make.Last([]))
    told = capsys.readouterr().out
    runs = json.loads(reference.read_text())["variants"]["baseline"]["runs"]
    dice = " ".join(f"{fmean(run[split]['dice'] for run in runs):.3f}" for split in ("train", "test"))
    (row,) = re.findall("(?m)^Baseline  .*$", told)
    assert " ".join(row.split()[i] for i in (2, 4)) == dice
    assert "Do noise, dropout and L2 help a small segmentation network? On these images, " in told
    assert told.endswith("report.html (open it in a browser)\n")


@pytest.mark.parametrize(("size", "possible", "told"), [(16, "yes", ""), (128, "no", "0.1"), (128, "yes", "0.3")])
def test_memory_is_told_where_it_is_worth_a_word(size, possible, told, tmp_path: Path, monkeypatch, capsys):
    """128 * 128 pixels of 7,900 or, with the U-Net, 16,300 bytes."""

    def refuse(target: Path) -> None:
        raise UserError("this far")

    monkeypatch.setattr(make, "_only_this_process", refuse)
    splits = draw_discs(3, 1, size), draw_discs(2, 2, size)
    folder = write_dataset(Dataset("discs", *splits), tmp_path / "discs")
    assert main([f"DATASET={folder}", f"POSSIBLE={possible}"]) == 2
    memory = f"memory: about {told} GB a process in training\n" if told else ""
    assert re.sub("(?m)^(data|  ).*\n", "", capsys.readouterr().out) == memory


@pytest.mark.parametrize("name", ["synthetic", "reference", "x-study", "x.failed", "../x", "a/b", ".x", "x" * 101])
def test_names_that_would_hide_or_leave_the_reports_folder_are_refused(name, discs: Dataset):
    with pytest.raises(UserError, match="expected a folder name"):
        report_target(Parameters(dataset="some/folder", name=name), discs)


def test_a_folder_that_is_no_report_is_not_replaced(discs: Dataset, reports: Path):
    (reports / "discs").mkdir()
    (reports / "discs" / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="expected a report or nothing, found something else"):
        report_target(Parameters(dataset="discs"), discs)


def test_a_file_in_the_place_of_a_failed_report_is_refused_before_anything_is_made(discs: Dataset, reports: Path):
    (reports / "discs.failed").write_text("")
    with pytest.raises(UserError, match=r"discs.failed: expected a folder or nothing, found a file"):
        report_target(Parameters(dataset="discs"), discs)


def test_a_report_of_another_folder_of_that_name_is_replaced_only_where_name_asks_for_it(
    discs: Dataset, reports: Path, tmp_path: Path
):
    ours, theirs = str(tmp_path / "a" / "discs"), str(tmp_path / "b" / "discs")
    (reports / "discs").mkdir()
    made = {"provenance": {"source": source_of(theirs), "dataset_sha256": "another"}}
    (reports / "discs" / "results.json").write_text(json.dumps(made))
    with pytest.raises(UserError, match="found one of another folder called discs; give this one a name with NAME="):
        report_target(Parameters(dataset=ours), discs)
    assert report_target(Parameters(dataset=ours, name="discs"), discs) == reports / "discs"
    assert report_target(Parameters(dataset=theirs), discs) == reports / "discs"  # its data have changed since
    made["provenance"]["dataset_sha256"] = discs.sha256
    (reports / "discs" / "results.json").write_text(json.dumps(made))
    assert report_target(Parameters(dataset=ours), discs) == reports / "discs"  # the same data, moved


def test_a_source_is_the_same_from_a_link_or_another_clone_and_tells_no_path(tmp_path: Path):
    (tmp_path / "cells").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "cells")
    assert source_of(str(tmp_path / "link")) == source_of(str(tmp_path / "cells")) != source_of(str(tmp_path))
    assert source_of("data/cells") == source_of(str(ROOT / "data" / "cells"))
    assert re.fullmatch("[0-9a-f]{16}", source_of("data/cells"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sead": 3}, r"expected the parameters seed, rate, found sead"),
        ({"seed": "3"}, r"seed: expected int, found str"),
    ],
)
def test_papermills_silent_injections_are_refused(values, message, tmp_path: Path):
    notebook = write_notebook(tmp_path / "n.ipynb", "seed = 1\nrate = 0.5", "seed")
    with pytest.raises(NotebookError, match=message):
        check_injection(notebook, values)


def test_executed_notebook_tells_neither_time_nor_folder_and_has_steady_ids(tmp_path: Path):
    notebook = write_notebook(tmp_path / "n.ipynb", "seed = 1", "seed")
    texts = []
    for name in ("first.ipynb", "second.ipynb"):
        execute_notebook(notebook, tmp_path / name, {"seed": 3}, timeout=60)
        executed = nbformat.read(tmp_path / name, as_version=4)
        assert executed.cells[-1].outputs[0].data["text/plain"] == "3"
        texts.append((tmp_path / name).read_text())
    assert texts[0] == texts[1]
    assert str(tmp_path) not in texts[0]


def test_an_execution_tells_which_modules_of_lib_its_kernel_imported_wherever_that_happened(tmp_path: Path):
    inside = "def function():\n    from lib.data import stain\nfunction()"
    notebook = write_notebook(tmp_path / "n.ipynb", "seed = 1", "from lib import DSC", inside)
    section = execute_notebook(notebook, tmp_path / "out.ipynb", {"seed": 3}, timeout=60)
    expected = {"lib/__init__.py", "lib/data/__init__.py", "lib/data/stain.py", "lib/metrics.py"}
    assert expected < set(section["modules"])
    assert all((ROOT / module).is_file() for module in section["modules"])
    assert not [module for module in section["modules"] if module.startswith(("lib/claims", "lib/report"))]
    assert section["seconds"] > 0


FAILURES = {
    "exception": ("1 / 0", "ZeroDivisionError: division by zero", 60),
    "killed kernel": ("import os; os.kill(os.getpid(), 9)", "DeadKernelError: Kernel died", 60),
    "timeout": ("import time; time.sleep(60)", "CellTimeoutError: A cell timed out", 3),
    "exception without a message": ("assert 1 > 2", "AssertionError", 60),
    "output without end": ("while True: print('x' * 999)", "EndlessOutputError: expected at most 1,000,000", 60),
    "exit": ("import sys; sys.exit()", "ended before its last cell", 60),
}


@pytest.mark.parametrize(
    ("failure", "more"), [*((failure, ()) for failure in FAILURES), ("killed kernel", ("2 + 2",)), ("exit", ("2 + 2",))]
)
def test_a_notebook_that_does_not_end_is_named_with_cell_and_cause(failure, more, tmp_path: Path, monkeypatch):
    """Where a kernel is gone, it matters whether another cell follows."""
    monkeypatch.setattr(notebooks, "LARGEST_OUTPUT", 1_000_000)
    source, cause, timeout = FAILURES[failure]
    notebook = write_notebook(tmp_path / "n.ipynb", "seed = 1", "1 + 1", source, *more)
    with pytest.raises(NotebookError) as caught:
        execute_notebook(notebook, tmp_path / "out.ipynb", {"seed": 3}, timeout=timeout)
    assert str(caught.value).startswith(f"n.ipynb, cell 3 ({source}): {cause}")
    assert incomplete_cell(nbformat.read(tmp_path / "out.ipynb", as_version=4)) == f"cell 3 ({source})"


@pytest.fixture
def finished(made_once, reports: Path) -> Path:
    """A copy of that report, among the test's own."""
    return Path(shutil.copytree(made_once, reports / "discs"))


class References(HTMLParser):
    """Collects what a page would load, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [
            value for name, value in attrs if name in ("src", "srcset", "data", "poster", "action") or
            (name == "href" and tag != "a")
        ]  # fmt: skip


def test_report_is_complete_and_honest(made_once: Path, discs: Dataset, folder: Path):
    """That it is the same the second time, the fault matrix shows."""
    figures = {f"figures/figure-{n}.{kind}" for n in FIGURES for kind in ("png", "svg")}
    models = {f"models/{variant}-seed-0.pt" for variant in [*VARIANTS, "possible"]} | {"models/configurations.json"}
    executed = {f"notebooks/{path.name}" for path in NOTEBOOKS}
    first = tree(made_once)
    beside = {"report.html", "results.json", "scores.csv.xz", "inputs.json"}
    expected = beside | {"figures/summary.png", "figures/summary.svg"}
    assert set(first) == expected | figures | models | executed

    results = json.loads(first["results.json"])
    assert set(results) == {
        "schema_version", "provenance", "parameters", "dataset", "variants", "images", "claims", "reference", "side",
    }  # fmt: skip
    assert results["dataset"]["n_train"] == 10
    assert results["dataset"]["foreground_fraction"]["test"] == pytest.approx(discs.test.masks.mean())
    assert results["variants"]["dropout"]["config"]["epochs"] == 2
    run = results["variants"]["l2"]["runs"][0]
    assert set(run) == {"seed", "seconds", "history", "train", "test"}
    by_section = results["provenance"]["seconds_by_section"]
    assert list(by_section) == [path.stem for path in NOTEBOOKS]
    assert 0 < max(by_section.values()) <= results["provenance"]["seconds"]
    assert set(run["test"]) == {"loss", "dsc", "dice", "iou"}
    assert results["images"]["best"]["dsc"] >= results["images"]["worst"]["dsc"]
    everything = b"".join(first.values())
    for private in (str(folder.parent), str(ROOT)):
        assert private.encode() not in everything

    for name in executed:
        assert b'"name": "stderr"' not in first[name], name  # a warning tells folders, and is not the report's text

    page = References()
    html = first["report.html"].decode()
    page.feed(html)
    assert page.tags.count("script") == 1
    assert page.loads
    assert all(load.startswith("data:") for load in page.loads)
    assert not re.search(r"@import|url\((?!['\"]?data:|#)", html)
    assert [html.count(f'id="figure-{n}"') for n in FIGURES] == [1] * len(FIGURES)
    assert "Traceback (most recent" not in html
    assert "<math" in html

    weights = torch.load(made_once / "models" / "dropout-seed-0.pt", weights_only=True)
    assert sum(tensor.numel() for tensor in weights.values()) == 8499


@pytest.mark.parametrize(
    "failure",
    [name if name == "killed kernel" else pytest.param(name, marks=pytest.mark.slow) for name in FAILURES],
)
def test_after_a_failure_the_old_report_is_untouched_however_often(
    failure, finished: Path, folder: Path, reports: Path, tmp_path: Path, monkeypatch, capsys
):
    source, cause, timeout = FAILURES[failure]
    before = tree(finished)
    monkeypatch.setattr(notebooks, "LARGEST_OUTPUT", 1_000_000)
    failing = write_notebook(tmp_path / "failing.ipynb", PARAMETERS_CELL, source)
    monkeypatch.setattr(notebooks, "NOTEBOOKS", (failing,))
    monkeypatch.setattr(notebooks, "CELL_TIMEOUT", timeout)
    for _ in range(2):
        capsys.readouterr()
        assert main([f"DATASET={folder}", *QUICK]) == 1
        error = capsys.readouterr().err
        assert f"failed: failing.ipynb, cell 2 ({source}): {cause}" in error
        assert tree(finished) == before
        assert {path.name for path in reports.iterdir()} == {"discs", "discs.failed"}
        assert (reports / "discs.failed" / "notebooks" / "failing.ipynb").exists()


def test_a_missing_figure_is_a_failure(folder: Path, tmp_path: Path, monkeypatch, capsys, reports: Path):
    monkeypatch.setattr(notebooks, "NOTEBOOKS", (write_notebook(tmp_path / "empty.ipynb", PARAMETERS_CELL),))
    assert main([f"DATASET={folder}", *QUICK]) == 1
    assert f"figures: expected {FIGURES} with alt texts, found []" in capsys.readouterr().err
    assert not (reports / "discs").exists()


@pytest.fixture(params=[True, False], ids=["one exchange", "two renames"])
def exchange(request, monkeypatch) -> bool:
    """Whether the file system exchanges two folders in one step."""
    if not request.param:
        monkeypatch.setattr(_files, "_exchange", lambda first, second: False)
    return request.param


def write_folder(folder: Path, text: str) -> Path:
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "results.json").write_text(text)
    return folder


def test_publishing_replaces_a_folder_even_one_that_must_not_be_written_and_leaves_nothing(
    exchange, tmp_path: Path, capsys
):
    old, new = write_folder(tmp_path / "report", "old"), write_folder(tmp_path / "new", "new")
    old.chmod(0o500)
    (old / "inner").chmod(0o500)
    publish(new, old)
    assert tree(tmp_path) == {"report/inner/results.json": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["report"]
    assert ("replaced in two" in capsys.readouterr().err) == (not exchange)


def test_publishing_syncs_every_file_and_folder_before_it_moves_any(tmp_path: Path, monkeypatch):
    new, events = write_folder(tmp_path / "new", "new"), []
    monkeypatch.setattr(_files, "_sync", lambda path: events.append((path.name, new.exists())))
    publish(new, tmp_path / "report")
    assert events == [("inner", True), ("results.json", True), ("new", True), (tmp_path.name, False)]


def test_publishing_keeps_the_old_folder_if_the_new_one_cannot_be_moved(exchange, tmp_path: Path, monkeypatch):
    old, new = write_folder(tmp_path / "report", "old"), write_folder(tmp_path / "new", "new")
    rename, before = Path.rename, tree(old)

    def failing(path: Path, target: Path) -> Path:
        if (target == old and ".next-" in path.name) or (exchange and path == new):
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output error"):
        publish(new, old)
    assert tree(old) == before


def test_publishing_that_was_killed_between_two_steps_is_made_good(tmp_path: Path):
    write_folder(tmp_path / ".report.old", "old")
    write_folder(tmp_path / ".report.next-x", "new")
    recover(tmp_path / "report")
    assert tree(tmp_path) == {"report/inner/results.json": b"old"}


@pytest.mark.slow
def test_names_of_files_and_datasets_are_shown_as_text(discs: Dataset, tmp_path: Path, reports: Path):
    name = "<img src=x onerror=alert(1)> `$x$` *a*"
    splits = [
        type(split)(tuple(f"image_{i}{name}" for i in range(len(split))), split.images, split.masks)
        for split in (discs.train, discs.test)
    ]
    folder = write_dataset(Dataset(name, *splits), tmp_path / name)
    assert main([f"DATASET={folder}", *QUICK]) == 0
    html = (reports / name / "report.html").read_text()
    assert "<img src=x" not in html
    assert f"<strong>{name.replace('<', '&lt;').replace('>', '&gt;')}</strong>" in html


def start_report(
    folder: Path, name: str, runs: Path, epochs: int, *more: str, replay: Path | None = None
) -> subprocess.Popen[bytes]:
    """Starts `make report` as a person does, in a session of its own; or its command, with notebooks from a folder."""
    command = ("make", "report", f"PYTHON={sys.executable}", "FORCE=1")  # a killed one may have been published
    environment = os.environ | {"REPORT_RUNS": str(runs)}
    if replay:
        command = (sys.executable, faulty.__file__, str(ROOT / "reports"), "none")
        environment |= {"REPLAY": str(replay), "PYTHONPATH": str(ROOT)}
    given = (f"DATASET={folder}", "SEEDS=1", f"EPOCHS={epochs}", f"NAME={name}", *more)  # as make orders them
    return subprocess.Popen(
        (*command, *given), cwd=ROOT, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


@pytest.fixture
def name(tmp_path_factory) -> Iterator[str]:
    """A name for a report among the user's, which is removed."""
    name = f"test-{tmp_path_factory.mktemp('report').name}-{os.getpid()}"
    yield name
    for left in (name, f".{name}.new", f".{name}.old", f"{name}.failed"):
        shutil.rmtree(ROOT / "reports" / left, ignore_errors=True)


@pytest.fixture(autouse=True)
def temporary(monkeypatch) -> Iterator[Path]:
    """A folder of the test's own for temporary files, with a name short enough for the sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    shutil.rmtree(folder)


def left_behind(name: str, runs: Path) -> list[str]:
    """What of a report is still there and should not be: processes, temporary files, locks."""
    processes = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("REPORT_RUNS") == str(runs):
                processes.append(" ".join(process.cmdline()))
    beside = [path.name for path in (ROOT / "reports").glob(f".{name}*")]
    half = [path.name for path in runs.rglob("*") if path.is_file() and path.name != "run.pt"]
    temporary = [path.name for path in Path(os.environ["TMPDIR"]).iterdir()]
    return [*processes, *beside, *half, *temporary]


@pytest.mark.slow(first=True)
@pytest.mark.parametrize("kills", [20])
def test_after_sigkill_at_any_moment_the_next_report_is_the_same_and_repeats_no_finished_run(
    kills: int, name: str, tmp_path: Path
):
    """The kills are spread over the time of an undisturbed report, alternately of all processes and of one alone.

    After every fifth all is made by the same command; after the others the notebooks are the undisturbed report's.
    """
    folder = write_dataset(Dataset("discs", draw_discs(24, 1, size=64), draw_discs(8, 2, size=64)), tmp_path / "discs")
    target, undisturbed = ROOT / "reports" / name, tmp_path / "undisturbed"
    started = time.monotonic()
    small = 10, "POSSIBLE=no"  # forty reports are made: without the network of today in half of the time
    first = start_report(folder, name, undisturbed, *small)
    assert b"report: " in first.communicate()[0]
    duration = time.monotonic() - started
    expected = without_times(json.loads((target / "results.json").read_text()), of_runs=True)
    notebooks = shutil.copytree(target / "notebooks", tmp_path / "notebooks")

    moments = np.random.default_rng(0).permutation((np.arange(kills) + 0.5) / kills) * duration
    reached = set()
    for number, moment in enumerate(moments):
        runs = tmp_path / f"runs-{number}"
        shutil.rmtree(target)
        killed = start_report(folder, name, runs, *small)
        time.sleep(moment)
        reached.add((len(list(runs.rglob("run.pt"))), target.exists()))
        if number % 2:
            os.killpg(killed.pid, signal.SIGKILL)
        else:  # make sees its command die
            for child in psutil.Process(killed.pid).children():
                child.kill()
        killed.communicate()
        finished = {path: path.read_bytes() for path in runs.rglob("run.pt")}

        again = start_report(folder, name, runs, *small, replay=notebooks if number % 5 else None)
        assert b"report: " in again.communicate()[0]
        assert again.returncode == 0
        assert without_times(json.loads((target / "results.json").read_text()), of_runs=True) == expected
        assert finished.items() <= {path: path.read_bytes() for path in runs.rglob("run.pt")}.items()
        assert left_behind(name, runs) == []
    assert len(reached) > 1 or kills == 1


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["data:", "notebooks:"])
def test_ctrl_c_ends_everything_and_keeps_the_old_report(moment, discs: Dataset, name: str, tmp_path: Path):
    """As in a terminal: the signal reaches the whole process group, but not the kernels' sessions."""
    folder, target = write_dataset(discs, tmp_path / "discs"), ROOT / "reports" / name
    target.mkdir(parents=True)
    (target / "results.json").write_text("{}")
    process = start_report(folder, name, tmp_path / "runs", 5000 if moment == "data:" else 1)
    output = b""
    while moment.encode() not in output:
        output += os.read(process.stdout.fileno(), 65536)
    time.sleep(6)  # into training, or into the kernels' start
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) > 1
    os.killpg(process.pid, signal.SIGINT)
    output += process.communicate(timeout=30)[0]
    assert process.returncode != 0
    assert b"interrupted: no report was written or replaced" in output
    assert b"Traceback" not in output
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert tree(target) == {"results.json": b"{}"}
    assert set(left_behind(name, tmp_path / "runs")) <= {"checkpoint.pt"}


@pytest.mark.slow
def test_a_full_study_is_a_report_of_its_own_with_side_experiments_and_no_claim_left_out(folder: Path, reports: Path):
    assert main([f"DATASET={folder}", "STUDY=yes", "REPEATS=6", *QUICK]) == 0
    study = reports / "discs-study"
    made = tree(study)
    assert {f"figures/figure-{n}.svg" for n in (*FIGURES, *STUDY_FIGURES)} <= made.keys()
    results = json.loads(made["results.json"])
    assert results["parameters"]["study"]
    assert results["provenance"]["command"].startswith("make study DATASET=")
    assert set(results["side"]) == set(EXPERIMENTS) - {"variants"}
    places = [(run["division"], run["fold"]) for run in results["side"]["new patients"]["l2"]["runs"]]
    assert places == [(division, fold) for division in range(results["parameters"]["repeats"]) for fold in range(5)]
    assert {c["id"] for c in results["claims"] if c["verdict"] == "not run"} == set()
    assert "5 What the study mentions in passing" in made["report.html"].decode()


def test_divisions_are_added_only_while_more_of_them_could_decide(discs: Dataset, monkeypatch, capsys):
    """The evidence here is the number of divisions; after 12 nothing is left that more of them could decide."""
    monkeypatch.setattr("lib.report.make.report_runs", lambda dataset, request: request.repeats)
    monkeypatch.setattr("lib.report.make.evidence", lambda runs, dataset, until_decided: runs * until_decided)
    monkeypatch.setattr("lib.report.make.judge", lambda measured: measured)
    parameters = parse_parameters(["STUDY=yes", "UNTIL=decided"])
    assert parameters.repeats == LOOKS[0]
    for decided_after, expected in ((8, 8), (12, 12), (1000, 16)):
        still_open = lambda measured, last=decided_after: ["C3a", "C3a"] if measured < last else []  # noqa: E731
        monkeypatch.setattr("lib.report.make.may_be_decided", still_open)
        assert _until_decided(parameters, discs).repeats == expected
    assert "after 8 divisions: more could decide C3a\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "found"),
    [(["UNTIL=decided"], "make report"), (["STUDY=yes", "REPEATS=6", "UNTIL=decided"], "REPEATS=6")],
)
def test_adding_divisions_is_for_a_study_that_does_not_say_how_many(arguments, found):
    with pytest.raises(UserError, match=f"UNTIL=decided: expected make study, .*, found {found}"):
        parse_parameters(arguments)


def test_a_full_study_takes_twenty_seeds_unless_told_otherwise():
    assert parse_parameters(["STUDY=yes"]).seeds == 20
    assert parse_parameters(["STUDY=yes", "SEEDS=6"]).seeds == 6
    assert parse_parameters(["STUDY=no"]).seeds == 3
    assert parse_parameters([]).seeds == 3


@pytest.mark.slow
def test_notebooks_see_the_data_that_the_report_began_with(discs, made_once: Path, tmp_path: Path, monkeypatch):
    folder = write_dataset(discs, tmp_path / "discs")
    monkeypatch.setattr("lib._files.REPORTS", tmp_path / "reports")

    def replacing(*arguments, **options):
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(folder / "Train" / "image_00.png")
        return report_runs(*arguments, **options)

    report_runs = make.report_runs
    monkeypatch.setattr(make, "report_runs", replacing)
    monkeypatch.setattr(notebooks, "execute_notebooks", faulty.replay)
    monkeypatch.setenv("REPLAY", str(made_once / "notebooks"))
    monkeypatch.setenv("EXECUTED", "1")
    assert make.main([f"DATASET={folder}", *QUICK]) == 0
    results = json.loads((tmp_path / "reports/discs/results.json").read_text())
    assert results["provenance"]["dataset_sha256"] == discs.sha256
    notebook = (tmp_path / "reports/discs/notebooks/1_data.ipynb").read_text()
    assert discs.sha256 in notebook
    assert 'data_key = \\"\\"' in notebook  # the default of the parameters' cell
    assert notebook.count("data_key = ") == 1  # nothing of this machine beside it
    assert not (tmp_path / "reports/discs/inputs.json").exists()  # so that the next one is made anew
