"""The widgets of the notebooks: their logic by itself, and in JupyterLab in a real browser."""

import asyncio
import base64
import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import nbformat
import pytest
from conftest import write_dataset
from ipywidgets import HTML, VBox
from playwright.sync_api import Browser, expect
from trained import lend_this_process, trained_runs

from lib._files import ROOT
from lib.data.dataset import Dataset
from lib.figures.widgets import _under_way, explore_image, explore_training
from lib.report.notebooks import NOTEBOOKS
from lib.runs import finish
from lib.training import TrainingConfig

LEARNS = TrainingConfig(epochs=3, learning_rate=0.01)


@pytest.fixture(scope="module")
def runs(discs: Dataset):
    with patch.object(finish, "lend_workers", lend_this_process):
        return trained_runs(discs, ["baseline", "l2"], seeds=2, epochs=2, learning_rate=0.01)


def control(box: VBox, description: str):
    return next(widget for widget in box.children[0].children if widget.description == description)


def told(box: VBox) -> str:
    return box.children[1].value


def picture(box: VBox) -> bytes:
    assert isinstance(box.children[2], HTML)
    found = re.fullmatch(r'<img alt=".+" style=".+" src="data:image/png;base64,(.+)">', box.children[2].value)
    return base64.b64decode(found[1]) if found else b""


def scores(text: str) -> list[float]:
    return [float(score) for score in re.findall(r"(?:DSC|Dice) (\d\.\d{3})", text)]


def run(work: Coroutine[None, None, None]) -> None:
    """Runs it in a loop of its own: where pages were looked at before, playwright's still runs in this thread."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def ended(box: VBox) -> None:
    async with asyncio.timeout(60):
        while control(box, "Train").disabled:
            await asyncio.sleep(0.01)


def trained(box: VBox) -> None:
    """Presses Train, and waits for the end."""

    async def press() -> None:
        control(box, "Train").click()
        await ended(box)

    run(press())


@pytest.mark.parametrize(("variant", "seed"), [("baseline", 0), ("l2", 1)])
def test_at_the_threshold_of_the_report_the_scores_are_those_of_the_run(variant, seed, discs: Dataset, runs):
    box = explore_image(discs, runs)
    control(box, "Variant").value, control(box, "Seed").value = variant, seed
    control(box, "Image").value = ("test", discs.test.names[3])
    of_run = runs[variant][seed].scores[2]["test"]
    assert scores(told(box)) == [pytest.approx(of_run[metric][3].item(), abs=6e-4) for metric in ("dsc", "dice")]


def test_moving_the_threshold_changes_scores_and_picture(discs: Dataset, runs):
    box = explore_image(discs, runs)
    before = told(box), picture(box)
    control(box, "Threshold").value = 1
    assert scores(told(box)) == [pytest.approx(1 - discs.test.masks[0].mean(), abs=6e-4), 0]  # nothing is found
    assert "0% in the prediction" in told(box)
    assert picture(box).startswith(b"\x89PNG")
    assert picture(box) != before[1]
    control(box, "Threshold").value = 0.5
    assert (told(box), picture(box)) == before


def test_without_runs_an_image_is_shown_with_its_mask_and_no_scores(discs: Dataset):
    box = explore_image(discs)
    assert [widget.description for widget in box.children[0].children] == ["Image"]
    before = picture(box)
    control(box, "Image").value = ("train", discs.train.names[1])
    assert scores(told(box)) == []
    assert f"{discs.train.masks[1].mean():.0%}" in told(box)
    assert picture(box) != before


def test_showing_the_widgets_trains_nothing(discs: Dataset):
    box = explore_training(discs, LEARNS, "l2")
    assert (told(box), picture(box), _under_way) == ("", b"", {})
    assert (control(box, "Train").disabled, control(box, "Stop").disabled) == (False, True)


@pytest.mark.parametrize("setting", ["l2", "noise_std", "dropout", "learning_rate"])
def test_training_ends_with_the_scores_that_a_run_of_these_settings_has(setting, discs: Dataset, runs):
    box = explore_training(discs, TrainingConfig(epochs=2, learning_rate=0.01, noise_std=0.5), setting)
    labels = {"l2": "λ", "noise_std": "Noise sd", "dropout": "Dropout p", "learning_rate": "Learning rate"}
    control(box, labels[setting]).value = {"noise_std": 0, "learning_rate": 0.02}.get(setting, 0.25)
    trained(box)
    assert "epoch 2 of 2" in told(box)
    assert len(scores(told(box))) == 4
    if setting == "noise_std":  # what is then left is the baseline
        split_scores = [runs["baseline"][0].scores[2][split] for split in ("train", "test")]
        expected = [of[metric].mean().item() for of in split_scores for metric in ("dsc", "dice")]
        assert scores(told(box)) == [pytest.approx(score, abs=6e-4) for score in expected]


def test_every_epoch_adds_to_the_curve_while_the_kernel_goes_on(discs: Dataset, runs):
    box = explore_training(discs, LEARNS, "l2", runs["baseline"][:1])
    drawn: list[str] = []
    box.children[2].observe(lambda change: drawn.append(change["new"]), "value")
    trained(box)
    ends = [re.search(r"Between epochs 1 and (\d)", alt)[1] for alt in drawn]
    assert ends == ["1", "2", "3"]
    assert len(set(drawn)) == 3


def test_stop_ends_training_after_the_epoch_under_way_and_it_can_begin_again(discs: Dataset):
    box = explore_training(discs, TrainingConfig(epochs=1000), "l2")

    async def press() -> None:
        control(box, "Train").click()
        async with asyncio.timeout(60):
            while "DSC" not in told(box):
                await asyncio.sleep(0.01)
        control(box, "Stop").click()
        assert "Stops after the epoch" in told(box)
        await ended(box)

    run(press())
    assert int(re.search(r"epoch (\d+) of 1000.* Stopped\.$", told(box))[1]) < 1000
    control(box, "Epochs").value = 1
    trained(box)
    assert "epoch 1 of 1." in told(box)


def test_widgets_made_anew_stop_the_training_of_those_they_replace(discs: Dataset):
    async def run_cell_twice() -> None:
        first = explore_training(discs, TrainingConfig(epochs=1000), "l2")
        control(first, "Train").click()
        explore_training(discs, LEARNS, "l2")
        await ended(first)

    run(run_cell_twice())


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("l2", -1.0, "λ: expected a number greater than or equal to 0, found -1."),
        ("dropout", 1.0, "Dropout p: expected a number less than 1, found 1."),
        ("learning_rate", 0.0, "Learning rate: expected a number greater than 0, found 0."),
    ],
)
def test_value_out_of_range_is_met_with_one_line_and_no_training(setting, value, message, discs: Dataset, capfd):
    box = explore_training(discs, LEARNS, setting)
    box.children[0].children[0].value = value
    control(box, "Train").click()
    assert (told(box), picture(box)) == (message, b"")
    assert not control(box, "Train").disabled
    assert capfd.readouterr() == ("", "")


def test_training_that_fails_is_told_in_one_line(discs: Dataset, capfd):
    box = explore_training(discs, LEARNS, "learning_rate")
    control(box, "Learning rate").value = 1e38
    trained(box)
    assert re.fullmatch(r"Learning rate 1e\+38: failed, [^\n]+", told(box))
    assert capfd.readouterr() == ("", "")


def test_every_notebook_ends_with_a_section_to_explore():
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        tags = ["explore" in cell.metadata.get("tags", []) for cell in notebook.cells]
        assert tags == sorted(tags), path
        assert any(tags), path
        assert "widgets" not in notebook.metadata, path  # nor what they showed


def test_report_has_no_trace_of_it(made_once: Path):
    for path in NOTEBOOKS:
        executed = nbformat.read(made_once / "notebooks" / path.name, as_version=4)
        assert "widgets" not in executed.metadata
        assert not [cell.id for cell in executed.cells if "explore" in f"{cell.id} {cell.metadata.get('tags')}"]
    assert not re.search("explore|ipywidgets|widget-view", (made_once / "report.html").read_text(), re.IGNORECASE)


@pytest.fixture
def lab(discs: Dataset, tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab of its own, that has the notebook of section 2.2 c for the discs."""
    notebook = nbformat.read(ROOT / "notebooks" / "2.2c_l2.ipynb", as_version=4)
    parameters = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    dataset = write_dataset(discs, tmp_path / "discs")
    parameters.source += f"\ndataset, epochs, learning_rate = {str(dataset)!r}, 2, 0.01"
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "l2.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    arguments = [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=discs"]
    arguments += ["--no-browser", "--allow-root", "--LabApp.news_url=None", "--LabApp.extension_manager=readonly"]
    with (tmp_path / "lab.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", str(tmp_path / "notebooks"), *arguments],
            env=os.environ | own | {"PYTHONPATH": str(ROOT)}, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        wait_for_port(process, port)
        yield f"http://127.0.0.1:{port}/lab/tree/l2.ipynb?token=discs"
    finally:
        process.terminate()
        process.wait(60)


def wait_for_port(process: subprocess.Popen, port: int) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    pytest.fail("expected JupyterLab to listen within five minutes, found that it does not")


@pytest.mark.slow
def test_in_jupyterlab_the_threshold_changes_the_scores_and_a_training_draws_its_curve(lab: str, browser: Browser):
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(300_000)
    expect.set_options(timeout=300_000)
    page.goto(lab)
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # before that, menus close by themselves
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    cells = page.locator(".jp-CodeCell:has(.jupyter-widgets)")
    expect(cells).to_have_count(2)
    image, training = cells.nth(0), cells.nth(1)

    said, shown = image.locator(".widget-html").nth(0), image.get_by_role("img")
    expect(said).to_contain_text("DSC")
    before = said.inner_text(), shown.get_attribute("src")
    image.get_by_role("slider").focus()
    for _ in range(30):
        page.keyboard.press("ArrowRight")
    expect(image.locator(".widget-readout")).to_have_text("0.80")
    expect(said).not_to_have_text(before[0])
    expect(shown).not_to_have_attribute("src", before[1])

    value, train = training.get_by_label("λ"), training.get_by_role("button", name="Train")
    said, curve = training.locator(".widget-html").nth(0), training.get_by_role("img")
    value.fill("0.001")
    training.get_by_label("Epochs").fill("1000")
    train.click()
    expect(said).to_contain_text("λ 0.001, epoch ")
    expect(curve).to_be_visible()
    before = curve.get_attribute("src")
    expect(curve).not_to_have_attribute("src", before)
    training.get_by_role("button", name="Stop").click()
    expect(said).to_contain_text("Stopped.")
    expect(train).to_be_enabled()

    value.fill("-1")
    expect(value).to_have_value("-1")
    train.click()
    expect(said).to_have_text("λ: expected a number greater than or equal to 0, found -1.")
    for kind in ("stderr", "error"):
        assert cells.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']").count() == 0
    page.close()
