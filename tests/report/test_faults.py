"""The fault matrix: real processes, each met by one fault; a table of them ends the run.

After each: the exit code that docs/install.md gives; a line that names the cause; the old report untouched, or the new
one whole and the same but for when it was made; nothing left behind, after SIGKILL once a healthy run has followed.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path

import faulty
import pytest
from conftest import QUICK, tree, without_times

from lib._files import ROOT, lock, unlock
from lib.report.notebooks import NOTEBOOKS
from lib.runs.workers import environment

FAULTY = Path(__file__).with_name("faulty.py")
NEW, OLD = "new", "old"  # which report is there afterwards
LIMIT = 240  # seconds
QUICK_ROWS = (  # one row of each kind that takes seconds; `make test-slow` has all
    "SIGTERM", "defect", "code edited meanwhile",
    "disk full at results.json", "input or output error at the exchange", "SIGHUP after the exchange", "no exchange",
    "a reader that goes",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a fault happens: folders of one test."""

    reports: Path
    data: Path
    scratch: Path
    before: Path  # the report that was there, elsewhere


@dataclass(frozen=True)
class Fault:
    """One row of the matrix."""

    name: str  # of FAULTS in faulty.py, or any where `before` brings the fault about
    code: int
    says: str
    arguments: tuple[str, ...] = ()
    before: Callable[[Place], object] = lambda place: None
    shell: str = '"$@"'  # how a shell runs the command
    leaves: str = OLD
    slow: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    inject: str = "none"
    kernels: int = 0  # how many notebooks run in real ones; most faults are met before or after that


def mistake(name: str, says: str, *arguments: str, before: Callable[[Place], object] = lambda place: None) -> Fault:
    return Fault(name, 2, f"error: {says}", arguments, before, slow=False)


def fails(name: str, code: int, says: str, leaves: str = OLD) -> Fault:
    return Fault(name, code, says, inject=name, slow=name not in QUICK_ROWS, leaves=leaves)


def succeeds(
    name: str,
    shell: str = '"$@"',
    kernels: int = 0,
    before: Callable[[Place], object] = lambda place: None,
    **environment: str,
) -> Fault:
    slow = name not in QUICK_ROWS
    return Fault(name, 0, "", (), before, shell, NEW, slow, environment, kernels=kernels)


def replace_by_thesis(place: Place) -> None:
    shutil.rmtree(place.reports / "discs")
    (place.reports / "discs").mkdir()
    (place.reports / "discs" / "thesis.tex").write_text("years of work", encoding="utf-8")


def made_of_another_source(place: Place) -> None:
    path = place.reports / "discs" / "results.json"
    results = json.loads(path.read_bytes())
    results["provenance"] |= {"source": "another", "dataset_sha256": "another"}
    path.write_text(json.dumps(results), encoding="utf-8")


def damage_an_image(place: Place) -> None:
    image = place.data / "Train" / "image_00.png"
    image.write_bytes(image.read_bytes()[:60])


def unwritable(place: Place) -> None:
    for folder in (place.reports / "discs", place.reports / "discs" / "figures"):
        folder.chmod(0o500)


def left_by_a_killed_one(place: Place) -> None:
    """A lock that nobody holds, a folder in the making, one on its way and temporary files."""
    (place.reports / ".discs.new.lock").touch()
    for folder in (".discs.new/discs/models", ".discs.next-x/notebooks"):
        (place.reports / folder).mkdir(parents=True)
    temporary = place.scratch / "tmp" / "report-x"
    temporary.mkdir()
    (place.reports / ".discs.new" / "temporary").write_text(str(temporary), encoding="utf-8")


def models_a_file(place: Place) -> None:
    shutil.rmtree(place.reports / "discs" / "models")
    (place.reports / "discs" / "models").touch()


def settings_of_others(place: Place) -> None:
    """A dark matplotlibrc, IPython's startup files, templates, a deleted kernel and another lib, as a user has them."""
    home = place.scratch / "home"
    files = {
        "ipython/profile_default/startup/0.py": 'get_ipython().ast_node_interactivity = "all"',
        "mpl/matplotlibrc": "axes.facecolor: black\ntext.color: red\ntext.usetex: True",
        "jupyter/nbconvert/templates/lab/index.html.j2": "x",
        "jupyter/nbconvert/templates/lab/conf.json": "{}",
        "jupyter/kernels/python3/kernel.json": '{"argv": ["/gone"], "display_name": "x", "language": "python"}',
        "path/lib/__init__.py": "raise ImportError",
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text, encoding="utf-8")


HOME = "{scratch}/home"
OTHERS_JUPYTER = {
    "JUPYTER_DATA_DIR": f"{HOME}/jupyter", "JUPYTER_PATH": f"{HOME}/jupyter", "JUPYTER_PREFER_ENV_PATH": "0",
}  # fmt: skip
OTHERS_MATPLOTLIB = {"MPLCONFIGDIR": f"{HOME}/mpl", "MATPLOTLIBRC": f"{HOME}/mpl/matplotlibrc"}
FAULTS = [
    mistake("misspelt parameter", "SEED: unknown parameter; did you mean SEEDS?", "SEED=5"),
    mistake("lower case", "dataset: unknown parameter; did you mean DATASET?", "dataset=x"),
    mistake("no number", "SEEDS: expected a valid integer, found 'three'", "SEEDS=three"),
    mistake("out of range", "LEARNING_RATE: expected less than or equal to 1, found 'nan'", "LEARNING_RATE=nan"),
    mistake("no such folder", "DATASET=/no/such: expected", "DATASET=/no/such"),
    mistake("no such user", "DATASET=~nobody-such/x: expected", "DATASET=~nobody-such/x"),
    mistake("a file as data", "DATASET={data}/Train/image_00.png: expected", "DATASET={data}/Train/image_00.png"),
    mistake("a name that leads outside", "NAME=../../etc: expected a folder name", "NAME=../../etc"),
    mistake("a reserved name", "NAME=reference: expected a folder name", "NAME=reference"),
    mistake("a damaged image", "", before=damage_an_image),
    mistake("somebody's folder", "reports/discs: expected a report or nothing", before=replace_by_thesis),
    mistake(
        "a link for a report",
        "reports/link: expected a report or nothing",
        "NAME=link",
        before=lambda place: (place.reports / "link").symlink_to("discs"),
    ),
    mistake(
        "a file for the failed report",
        "reports/discs.failed: expected a folder or nothing, found a file",
        before=lambda place: (place.reports / "discs.failed").write_text("", encoding="utf-8"),
    ),
    mistake("another folder of that name", "reports/discs: expected a report of", before=made_of_another_source),
    fails("SIGINT", 130, "interrupted: no report was written or replaced"),
    fails("SIGTERM", 130, "interrupted: no report was written or replaced"),
    fails("SIGHUP", 130, "interrupted: no report was written or replaced"),
    fails("message of 50 MB", 1, "failed: xxx"),
    fails("defect", 1, "failed: TypeError: unsupported format string"),
    fails("code edited meanwhile", 1, "failed: lib/evaluation.py: expected to stay as it was"),
    fails("page of another template", 1, "failed: page: expected id="),
    *(fails(f"disk full at {where}", 1, "failed: [Errno 28] No space left on device")
      for where in ("results.json", "report.html", "weights", "sync")),
    fails("disk full at figures", 1, "No space left on device"),
    fails("input or output error at the exchange", 1, "failed: [Errno 5] Input/output error"),
    fails("SIGTERM before the exchange", 0, "report: ", leaves=NEW),  # its result is whole: it ends as it would have
    fails("SIGHUP after the exchange", 0, "report: ", leaves=NEW),
    fails("SIGKILL before the exchange", -9, ""),
    fails("SIGKILL after the exchange", -9, "", leaves=NEW),
    fails("no exchange", 0, "cannot exchange folders in one step; replaced in two", leaves=NEW),
    succeeds("no stdout", shell='"$@" >&-'),
    succeeds("no stderr", shell='"$@" 2>&-'),
    succeeds("a reader that goes", shell='"$@" 2>&1 | head -1; exit ${PIPESTATUS[0]}'),
    succeeds("Latin-1", LC_ALL="C", PYTHONIOENCODING="latin-1", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    succeeds("no home", kernels=2, HOME="/no/such"),
    succeeds("a long name for temporary files", kernels=2, TMPDIR="{scratch}/" + 80 * "x"),
    Fault("an old report that must not be written", 0, "report: ", before=unwritable, leaves=NEW),
    Fault(
        "settings of others", 0, "report: ", before=settings_of_others, leaves=NEW, kernels=len(NOTEBOOKS),
        environment={
            "IPYTHONDIR": f"{HOME}/ipython", "PYTHONPATH": f"{ROOT}:{HOME}/path", **OTHERS_JUPYTER, **OTHERS_MATPLOTLIB,
        },
    ),
    succeeds("a template of the user's", before=settings_of_others, **OTHERS_JUPYTER),
    succeeds("LaTeX and colours of the user's", before=settings_of_others, **OTHERS_MATPLOTLIB),
    Fault(
        "a cell that prints without end", 1, "cell 2 (while True: print('x' * 999)): EndlessOutputError: expected",
        inject="a cell that prints without end", kernels=2,
    ),
    succeeds("the root as home", kernels=2, HOME="/"),
    succeeds("no folder for temporary files", TMPDIR="/no/such"),
    succeeds("stdout full", shell='"$@" >/dev/full'),
    succeeds("stderr full", shell='"$@" 2>/dev/full'),
    succeeds("what a killed one left", before=left_by_a_killed_one),
    succeeds("an old report with a file for a folder", before=models_a_file),
    succeeds(
        "an old report with half a results.json",
        before=lambda place: (place.reports / "discs" / "results.json").write_text("{", encoding="utf-8"),
    ),
    succeeds("a file as cache", REPORT_CACHE="{data}/Train/image_00.png"),
    Fault(
        "a file as store of runs", 1, "failed: [Errno ",
        environment={"REPORT_RUNS": "{data}/Train/image_00.png"},
    ),
    Fault("files of 100 kB at most", 1, "failed: [Errno 27] File too large", shell='ulimit -f 100; "$@"'),
    mistake(
        "a mask that is missing", "{data}/Train/image_00.png: expected a mask of its name",
        before=lambda place: (place.data / "Train" / "label_00.png").unlink(),
    ),
]  # fmt: skip


@pytest.fixture
def place(made_once: Path, folder: Path) -> Iterator[Place]:
    scratch = Path(tempfile.mkdtemp(prefix="f-", dir="/tmp"))
    (scratch / ("x" * 80)).mkdir()
    shutil.copytree(made_once, scratch / "reports" / "discs")
    (scratch / "tmp").mkdir()
    yield Place(scratch / "reports", folder, scratch, made_once)
    shutil.rmtree(scratch)


@pytest.fixture(scope="module")
def forks() -> BaseContext:
    """Forks processes from one that has imported what they need, which takes longer than most of what they do."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["faulty"])
    with environment({"PYTHONPATH": f"{ROOT}:{FAULTY.parent}"}):
        forkserver.ensure_running()
    return context


def run(place: Place, fault: Fault, forks: BaseContext) -> subprocess.CompletedProcess[str]:
    def filled(text: str) -> str:
        return text.format(**vars(place))

    command = [str(place.reports), fault.inject, f"DATASET={place.data}", *QUICK, *map(filled, fault.arguments)]
    given = {"PYTHONPATH": str(ROOT), "TMPDIR": str(place.scratch / "tmp")}
    given |= {"REPLAY": str(place.before / "notebooks"), "EXECUTED": str(fault.kernels)}
    if not fault.environment and fault.shell == Fault.shell:  # else an interpreter has to start so
        said = place.scratch / "stdout", place.scratch / "stderr"
        process = forks.Process(target=faulty.forked, args=(command, os.environ | given, said))
        process.start()
        process.join(LIMIT)
        return subprocess.CompletedProcess(command, process.exitcode, *(file.read_text() for file in said))
    return subprocess.run(
        ("bash", "-c", fault.shell, "bash", sys.executable, FAULTY, *command), cwd=ROOT, timeout=LIMIT,
        capture_output=True, text=True,
        env=os.environ | given | {name: filled(value) for name, value in fault.environment.items()},
    )  # fmt: skip


@pytest.mark.parametrize(
    "fault", [pytest.param(f, id=f.name, marks=[pytest.mark.slow] if f.slow else []) for f in FAULTS]
)
def test_a_fault_ends_as_promised(fault: Fault, place: Place, forks: BaseContext, record_property):
    fault.before(place)
    before = tree(place.reports)
    started = time.monotonic()
    process = run(place, fault, forks)
    said = [line for line in (process.stderr + process.stdout).splitlines() if line.strip()]
    words = fault.says.format(**vars(place))
    line = next((line for line in said if words in line), "")
    record_property("fault", (fault.name, process.returncode, line[:90], round(time.monotonic() - started, 1)))

    assert process.returncode == fault.code, process.stderr[-2000:]
    assert words in line, process.stderr[-2000:]
    assert "Traceback" not in process.stderr
    if fault.leaves == OLD:
        beside = (".discs.", "discs.failed/")
        kept = {name: content for name, content in tree(place.reports).items() if not name.startswith(beside)}
        assert kept == before
    else:
        first, second = tree(place.before), tree(place.reports / "discs")
        changed = {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)}
        assert changed == {"results.json", "report.html", "inputs.json"}  # they tell when they were made
        assert without_times(json.loads(second["results.json"])) == without_times(json.loads(first["results.json"]))
    if fault.code < 0:  # the next run clears away what a killed one left
        assert run(place, Fault("none", 0, ""), forks).returncode == 0
    assert not [path.name for path in place.reports.iterdir() if path.name.startswith(".")]
    left = [path.name for path in (place.scratch / "tmp").iterdir()]
    assert len(left) == (fault.name == "defect")  # its traceback
    assert all(name.startswith("traceback-") for name in left)


def test_two_at_once_are_refused(place: Place, forks: BaseContext):
    held = lock(place.reports / ".discs.new")
    process = run(place, Fault("none", 2, ""), forks)
    unlock(held)
    assert process.returncode == 2
    assert "reports/discs: expected to make it alone, found another process at it" in process.stderr
