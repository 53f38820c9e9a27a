"""The widgets of the notebooks: their logic by itself, and in JupyterLab in a real browser."""

import asyncio
import base64
import re
from pathlib import Path

import nbformat
import pytest
from ipywidgets import HTML, VBox
from test_page import browser as browser  # the fixture

from lib.data import Dataset
from lib.experiments import trained_runs
from lib.explore import _under_way, explore_image, explore_training
from lib.notebooks import NOTEBOOKS
from lib.training import TrainingConfig

LEARNS = TrainingConfig(epochs=3, learning_rate=0.01)


@pytest.fixture(scope="module")
def runs(discs: Dataset):
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


async def ended(box: VBox) -> None:
    async with asyncio.timeout(60):
        while control(box, "Train").disabled:
            await asyncio.sleep(0.01)


def trained(box: VBox) -> None:
    """Presses Train, and waits for the end."""

    async def press() -> None:
        control(box, "Train").click()
        await ended(box)

    asyncio.run(press())


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

    asyncio.run(press())
    assert int(re.search(r"epoch (\d+) of 1000", told(box))[1]) < 1000
    control(box, "Epochs").value = 1
    trained(box)
    assert "epoch 1 of 1." in told(box)


def test_widgets_made_anew_stop_the_training_of_those_they_replace(discs: Dataset):
    async def run_cell_twice() -> None:
        first = explore_training(discs, TrainingConfig(epochs=1000), "l2")
        control(first, "Train").click()
        explore_training(discs, LEARNS, "l2")
        await ended(first)

    asyncio.run(run_cell_twice())


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
        tags = ["explore" in cell.metadata.get("tags", []) for cell in nbformat.read(path, as_version=4).cells]
        assert tags == sorted(tags), path
        assert any(tags), path


def test_report_has_no_trace_of_it(made_once: Path):
    for path in NOTEBOOKS:
        executed = nbformat.read(made_once / "notebooks" / path.name, as_version=4)
        assert "widgets" not in executed.metadata
        assert not [cell.id for cell in executed.cells if "explore" in f"{cell.id} {cell.metadata.get('tags')}"]
    assert not re.search("explore|ipywidgets|widget-view", (made_once / "report.html").read_text(), re.IGNORECASE)
