"""What several tests share: a tiny dataset of discs, a store of runs of their own, a report made once, a browser."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

# Before lib is imported, so that kernels and workers inherit it: what the user keeps is none of the tests' business.
if "PYTEST_XDIST_WORKER" not in os.environ:  # whose processes share what theirs has made
    _kept = tempfile.TemporaryDirectory(prefix="kept-")
    os.environ |= {"REPORT_RUNS": f"{_kept.name}/runs", "REPORT_CACHE": f"{_kept.name}/cache"}

sys.modules["rfc3987_syntax"] = None  # as lib.report does, which is imported after nbformat here: it saves a second

if TYPE_CHECKING:  # lib takes seconds to import, which the process that only hands out tests need not spend
    from lib.data.dataset import Dataset, Split

CHROMIUM = shutil.which("chromium")
QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
QUICK = ("SEEDS=1", "EPOCHS=1", "LEARNING_RATE=0.01")  # of a report in half a minute

settings.register_profile("project", deadline=None, derandomize=True)  # the machine's speed is no test result
settings.load_profile("project")


def draw_discs(count: int, seed: int, size: int = 16) -> "Split":
    """Bright discs on a dark ground: a task that the study's network learns in a few steps."""
    from lib.data.dataset import Split

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    centres = rng.uniform(4, size - 4, (count, 2))
    masks = np.stack([(x - cx) ** 2 + (y - cy) ** 2 < 16 for cx, cy in centres])
    images = np.where(masks[..., None], 200, 40) + rng.integers(0, 40, (count, size, size, 3))
    return Split(tuple(f"image_{i:02d}" for i in range(count)), images.astype(np.uint8), masks)


@pytest.fixture(scope="session")
def discs() -> "Dataset":
    from lib.data.dataset import Dataset

    return Dataset("discs", draw_discs(10, seed=1), draw_discs(6, seed=2))


def write_dataset(dataset: "Dataset", folder: Path) -> Path:
    for name, split in (("Train", dataset.train), ("Test", dataset.test)):
        (folder / name).mkdir(parents=True)
        for stem, image, mask in zip(split.names, split.images, split.masks, strict=True):
            Image.fromarray(image).save(folder / name / f"{stem}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / name / f"{stem.replace('image', 'label')}.png")
    return folder


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def without_times(results: dict, of_runs: bool = False) -> dict:
    """Without what tells time; where runs were trained anew, without the time that took as well."""
    for key in ("started", "seconds", "seconds_by_section", "git_commit", "git_dirty", "source"):
        results["provenance"].pop(key)
    beside = (of for experiment in results["side"].values() for of in experiment.values())
    for run in (run for of in (*results["variants"].values(), *beside) for run in of["runs"] if of_runs):
        run.pop("seconds")
        run.get("history", {}).pop("seconds", None)
    return results


@pytest.fixture
def folder(discs: "Dataset", tmp_path: Path) -> Path:
    return write_dataset(discs, tmp_path / "discs")


@pytest.fixture(scope="session")
def made_once(discs: "Dataset", tmp_path_factory) -> Path:
    """The report of the discs, made by real kernels once in a session, for all processes that run its tests."""
    from lib import _files
    from lib.report.make import main

    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "made_once"
    made = shared / "reports" / "discs"
    with FileLock(f"{shared}.lock"), pytest.MonkeyPatch.context() as patch:
        if not made.exists():
            patch.setattr(_files, "REPORTS", made.parent)
            assert main([f"DATASET={write_dataset(discs, shared / 'discs')}", *QUICK]) == 0
    return made


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, where there is one (`.ci/run` insists on it)."""
    if not CHROMIUM:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail("expected chromium, found none")
        pytest.skip("no chromium here: the page was not looked at")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that judges whether everyone can use a page."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the tests that take longest, so that at the end no process waits for one of them.

    Those that need a report are the last: while one process makes it, the other has something else to do.
    """

    def turn(item: pytest.Item) -> tuple[bool, bool]:
        first = any(mark.kwargs.get("first") for mark in item.iter_markers("slow"))
        return not first, "made_once" in getattr(item, "fixturenames", ())

    items.sort(key=turn)


def pytest_terminal_summary(terminalreporter) -> None:
    """Prints the fault matrix, where its tests ran: fault, exit code, seconds, what the command said."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    rows = [dict(report.user_properties)["fault"] for report in reports if dict(report.user_properties).get("fault")]
    for name, code, line, seconds in sorted(rows):
        terminalreporter.write_line(f"{name:40} exit {code:>4}  {seconds:6.1f} s  {line}")
