"""Widgets for a notebook that is open in JupyterLab: any image at any threshold, and a training that one can watch.

The report does without them: cells tagged "explore" are left out of it.
"""

import asyncio
import base64
import html
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from ipywidgets import HTML, BoundedIntText, Box, Button, Dropdown, FloatSlider, FloatText, Layout, VBox
from matplotlib.patches import Patch
from pydantic import ValidationError

from lib.data.dataset import Dataset
from lib.evaluation import METRICS, THRESHOLD, evaluate
from lib.figures.curves import figure_learning
from lib.figures.images import draw_outlined, draw_overlay
from lib.figures.style import OVERLAY, STYLE, ReportFigure
from lib.metrics import DSC, confusion
from lib.runs.run import History, Run
from lib.runs.scores import constant_means
from lib.training import Training, TrainingConfig, thread_count

SETTINGS = {"l2": "λ", "noise_std": "Noise sd", "dropout": "Dropout p", "learning_rate": "Learning rate"}
_alone = threading.Lock()  # no two threads of a process may train at once
_under_way: dict[Button, asyncio.Task[None]] = {}  # trainings that have not ended, by their Stop


def _row(*controls: Any) -> Box:
    return Box(controls, layout=Layout(flex_flow="row wrap", align_items="center"))


def _picture(figure: ReportFigure) -> str:
    png = base64.b64encode(figure.render("png")).decode()
    width, height = figure.get_size_inches()
    style = f"width: 100%; max-width: 800px; aspect-ratio: {width} / {height}"  # the page does not jump as it loads
    return f'<img alt="{html.escape(figure.alt)}" style="{style}" src="data:image/png;base64,{png}">'


@mpl.rc_context(STYLE)
def _figure_masks(alt: str, image: np.ndarray, mask_true: np.ndarray, mask_pred: np.ndarray | None) -> ReportFigure:
    figure = ReportFigure(None, "", alt, pd.DataFrame(), figsize=(7.6, 2.85))
    axes = figure.subplots(1, 3)
    if mask_pred is None:
        axes[0].imshow(image)
        draw_outlined(axes[1], image, mask_true)
    else:
        draw_outlined(axes[0], image, mask_true)
        draw_outlined(axes[1], image, mask_pred)
        draw_overlay(axes[2], image, mask_true, mask_pred)
        handles = [Patch(color=colour, label=kind) for kind, colour in OVERLAY.items()]
        figure.legend(handles=handles, loc="outside lower right", ncols=3)
    titles = ("Image", "Truth", "") if mask_pred is None else ("Truth", "Prediction", "Overlay")
    for ax, title in zip(axes, titles, strict=True):
        ax.set_title(title)
        ax.set_axis_off()
    return figure


def explore_image(dataset: Dataset, runs: Mapping[str, Sequence[Run]] | None = None) -> VBox:
    """Returns widgets that show an image with its outlined mask, at once for every change.

    Args:
        dataset: whose images can be chosen, test images first.
        runs: by variant, the same seeds in each. With them the prediction of a chosen run above a chosen threshold is
            shown beside the truth, with its scores.
    """
    names = [(split, name) for split in sorted(dataset.splits) for name in dataset.splits[split].names]
    image = Dropdown(description="Image", options=[(f"{name} ({split})", (split, name)) for split, name in names])
    variant = Dropdown(description="Variant", options=list(runs or ()))
    seed = Dropdown(description="Seed", options=[run.config.seed for run in next(iter((runs or {"": []}).values()))])
    threshold = FloatSlider(THRESHOLD, description="Threshold", min=0, max=1, step=0.01)
    said, shown = HTML(), HTML()

    @lru_cache(1)  # or every step of the threshold would ask the network again
    def probabilities(variant: str, index: int, split: str, name: str) -> np.ndarray:
        assert runs
        return runs[variant][index].probabilities(dataset.splits[split], name)

    def show(_: Any = None) -> None:
        split, name = image.value
        pixels, mask_true = dataset.splits[split].pair(name)
        mask_pred, text = None, f"Foreground: {mask_true.mean():.0%} of the image"
        if runs:
            mask_pred = probabilities(variant.value, seed.index, split, name) > threshold.value
            pred, true = torch.from_numpy(mask_pred), torch.from_numpy(mask_true)
            text = (
                f"<b>DSC {DSC(pred, true):.3f}, Dice {confusion(pred[None], true[None]).dice.item():.3f}</b>. {text}, "
                f"{mask_pred.mean():.0%} in the prediction"
            )
        said.value = f"{text}."
        shown.value = _picture(_figure_masks(f"{name} with outlined masks.", pixels, mask_true, mask_pred))

    controls = (image, variant, seed, threshold) if runs else (image,)
    for control in controls:
        control.observe(show, "value")
    show()
    return VBox([_row(*controls), said, shown])


def explore_training(dataset: Dataset, config: TrainingConfig, setting: str, baseline: Sequence[Run] = ()) -> VBox:
    """Returns widgets that train one network anew with another value of a setting, and score it after every epoch.

    Each epoch runs in a thread, so that the kernel does what it is asked meanwhile. Only one training is under way:
    the widgets of a cell that is run again stop that of the ones they replace.

    Args:
        dataset: trained and scored on.
        config: of the training, but for the setting and the number of epochs.
        setting: the field of `config` to choose, one of SETTINGS.
        baseline: runs whose curves are drawn behind.
    """
    for earlier in list(_under_way):
        earlier.click()
    label, usual = SETTINGS[setting], getattr(config, setting)
    value = FloatText(0.5 if usual is None else usual, description=label)  # None: the study's p, the network's own
    epochs = BoundedIntText(config.epochs, min=1, max=1000, description="Epochs")
    train, stop = Button(description="Train", button_style="primary"), Button(description="Stop", disabled=True)
    said, shown = HTML(), HTML()

    async def run(training: Training, what: str) -> None:
        history = History([], {metric: [] for metric in METRICS}, {metric: [] for metric in METRICS}, training.seconds)
        constant = constant_means(dataset.test)
        curves = {"train": (dataset.train, history.train), "test": (dataset.test, history.test)}

        def epoch() -> None:
            with _alone, thread_count(training.config.threads):
                training.advance(dataset.train.images, dataset.train.masks)
                for split, curve in curves.values():
                    scores = evaluate(training.network, torch.from_numpy(split.images), torch.from_numpy(split.masks))
                    for metric, by_image in scores.items():
                        curve[metric].append(by_image.mean().item())
            history.epochs.append(len(training.seconds))

        try:
            while not (training.finished or stop.disabled):
                await asyncio.to_thread(epoch)
                behind = [run.history for run in baseline]
                figure = figure_learning(0, what, [history], dataset.name, behind, constant=constant)
                shown.value = _picture(figure)
                last = "; ".join(
                    f"{of} DSC {c['dsc'][-1]:.3f}, Dice {c['dice'][-1]:.3f}" for of, (_, c) in curves.items()
                )
                said.value = f"<b>{what}, epoch {history.epochs[-1]} of {training.config.epochs}.</b> {last}."
            said.value += "" if training.finished else " Stopped."
        except Exception as error:  # weights that are no longer numbers, for one
            said.value = html.escape(f"{what}: failed, {str(error).partition(chr(10))[0]}")
        finally:
            del _under_way[stop]
            train.disabled, stop.disabled = False, True

    def begin(_: Button) -> None:
        try:
            chosen = replace(config, **{setting: value.value, "epochs": epochs.value})
        except ValidationError as error:
            expected = error.errors()[0]["msg"].replace("Input should be", "expected a number")
            said.value = f"{label}: {expected}, found {value.value:g}."
            return
        train.disabled, stop.disabled = True, False
        what = f"{label} {value.value:g}"
        said.value, shown.value = f"<b>{what}, epoch 1 of {epochs.value}</b> is under way.", ""
        _under_way[stop] = asyncio.get_running_loop().create_task(run(Training(chosen), what))

    def end(_: Button) -> None:
        stop.disabled = True
        said.value += " Stops after the epoch that is under way."

    train.on_click(begin)
    stop.on_click(end)
    return VBox([_row(value, epochs, train, stop), said, shown])
