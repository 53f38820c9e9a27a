"""The figures and tables of section 4, on runs of the discs."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from scipy import stats

from lib.claims.intervals import Interval
from lib.claims.words import with_interval
from lib.data.dataset import Dataset, Fold
from lib.figures.possible import (
    agreement,
    figure_agreement,
    figure_beside,
    figure_cost,
    figure_ladder,
    figure_reliability,
    first_probabilities,
    group_table,
    score_table,
    settings_table,
    shape_table,
)
from lib.runs.finish import finished
from lib.runs.plan import LADDER, Planned, variant_config
from lib.runs.run import Run
from lib.runs.scores import final_means, fold_scores
from lib.shapes import surface_dice

LABELS = {name: variant.label for name, variant in LADDER.items()}


def runs_of(variants: Sequence[str], dataset: Dataset, folds: Sequence[Fold | None]) -> dict[str, list[Run]]:
    """Returns a run of each step of the ladder in each of some folds, each with a seed of its own."""
    plans = {}
    for variant in variants:
        config = replace(variant_config(LADDER[variant], 0, epochs=2, learning_rate=1e-2), threads=1)
        plans[variant] = [
            Planned(replace(config, seed=seed, snapshot_every=config.epochs), fold) for seed, fold in enumerate(folds)
        ]
    done = finished(dataset, list(chain(*plans.values())), 1)
    return {variant: [done[planned] for planned in of_variant] for variant, of_variant in plans.items()}


@pytest.fixture(scope="module")
def runs(discs: Dataset) -> dict[str, list[Run]]:
    return runs_of(("baseline", "scales"), discs, [None, None])


def test_settings_that_differ_are_listed_and_no_others(runs):
    table = settings_table(runs["baseline"][0].config, runs["scales"][0].config)
    assert table.loc["network"].tolist() == ["shallower_CNN_segment", "UNet"]
    assert table.loc["scales"].tolist() == ["none", "(0.75, 0.875, 1.125, 1.25)"]
    assert table.attrs["caption"].startswith(f"The two networks differ in {len(table)} settings.")
    assert not {"l2", "seed", "threads"} & set(table.index)


def test_tables_and_figures_hold_the_scores_of_the_runs(runs, discs: Dataset):
    expected = np.mean([final_means(run)["test"]["dice"] for run in runs["scales"]])
    assert float(score_table(runs, LABELS, discs).loc[LABELS["scales"], "Dice, test"]) == pytest.approx(
        expected, abs=5e-4
    )
    cost = figure_cost(23, runs, LABELS, discs)
    assert cost.data.groupby("network")["dice"].mean()[LABELS["scales"]] == pytest.approx(expected)
    markers = {path.vertices.tobytes() for dots in cost.axes[0].collections for path in dots.get_paths()}
    assert len(markers) == len(runs)  # told apart without colour, too
    beside = figure_beside(22, runs["baseline"], runs["scales"], discs)
    assert set(beside.data["which"]) == {"best", "worst"}
    reliable = figure_reliability(24, first_probabilities(runs, discs)["test"], discs.test.masks)
    assert reliable.data.groupby("network")["share"].sum().to_numpy() == pytest.approx(1)
    assert group_table(runs["scales"], discs) is None
    for figure in (cost, beside, reliable):
        assert figure.render("png")


def test_images_that_are_all_alike_to_the_networks_are_shown_once_and_share_no_id(runs, discs: Dataset):
    weights = {name: torch.zeros_like(of) for name, of in runs["baseline"][0].weights.items()}
    zero = {split: {"dice": torch.zeros(len(of), dtype=torch.float64)} for split, of in discs.splits.items()}
    epoch = runs["baseline"][0].config.epochs
    nothing = [replace(runs["baseline"][0], snapshots={epoch: weights}, scores={epoch: zero})]  # probability 0.5
    figure = figure_beside(22, nothing, nothing, discs)
    assert figure.data["which"].tolist() == ["best and worst"]
    ids = re.findall(r' id="([^"]*)"', figure.to_html())
    assert len(ids) == len(set(ids))


def test_dice_is_told_by_grade_and_by_patient_where_they_are_known(runs, discs: Dataset):
    known = replace(discs.test, grades=("benign",) * 4 + ("malignant",) * 2, patients=tuple("ababab"))
    table = group_table(runs["scales"], replace(discs, test=known))
    dice = np.mean([run.scores[run.config.epochs]["test"]["dice"].numpy() for run in runs["scales"]], axis=0)
    assert float(table.loc["grade malignant", "Dice"]) == pytest.approx(dice[4:].mean(), abs=1e-3)
    assert sorted(table.loc[["patient a", "patient b"], "images"]) == [3, 3]
    grade, patient = (table.filter(like=kind, axis=0)["Dice"].sort_values() for kind in ("grade", "patient"))
    lowest = f"{grade.iloc[0]} ({grade.index[0]}) and {patient.iloc[0]} ({patient.index[0]})"
    assert table.attrs["caption"].startswith(f"Lowest mean Dice of the U-Net: {lowest}.")


def test_networks_are_scored_by_border_and_object_on_images_they_were_not_trained_on(runs, discs: Dataset):
    both = replace(discs, test_b=discs.test)
    table = shape_table(first_probabilities(runs, both), LABELS, both)
    assert [name.partition(", ")[2] for name in table] == ["test"] * 4 + ["second test"] * 4
    run = runs["baseline"][0]
    masks_pred = [run.probabilities(discs.test, name) > 0.5 for name in discs.test.names]
    expected = np.mean([surface_dice(p, t) for p, t in zip(masks_pred, discs.test.masks, strict=True)])
    assert table.loc[LABELS["baseline"], "surface Dice, test"] == f"{expected:.3f}"
    # Every disc is one object that the answer covers, and that covers less than all of it.
    assert table.loc["all foreground", "object F1, test"] == "1.000"
    assert table.loc["all foreground", "surface Dice, test"] == "0.000"
    height, width = discs.image_size
    sizes = ((3 * height, 3 * width),) * len(discs.test.names)
    shrunk = replace(discs, test=replace(discs.test, original_sizes=sizes))
    again = shape_table(first_probabilities(runs, shrunk), LABELS, shrunk)["object Hausdorff"].astype(float)
    assert again.to_numpy() == pytest.approx(3 * table["object Hausdorff, test"].astype(float).to_numpy(), abs=0.2)


def test_agreement_is_how_often_two_runs_call_a_pixel_the_same():
    # Of four pixels: all three runs, none, and twice two of three, of whose three pairs one agrees.
    assert agreement(np.array([[3, 0], [1, 2]]), 3) == pytest.approx((1 + 1 + 1 / 3 + 1 / 3) / 4)


def test_agreement_is_drawn_of_the_worst_images_of_networks_with_several_runs(runs, discs: Dataset):
    first = runs["baseline"]
    figure = figure_agreement(26, {"study's": first, "U-Net": runs["scales"][:1]}, discs, count=2)
    dice = np.mean([run.scores[run.config.epochs]["test"]["dice"].numpy() for run in first], axis=0)
    assert figure.data["image"].tolist() == [discs.test.names[i] for i in np.argsort(dice)[:2]]
    assert set(figure.data["network"]) == {"study's"}
    name = figure.data["image"][0]
    one, other = (run.probabilities(discs.test, name) > 0.5 for run in first)
    assert figure.data["agreement"][0] == pytest.approx((one == other).mean())
    assert figure.render("png")


def test_the_ladder_shows_every_fold(discs: Dataset):
    folds = [Fold("train", index) for index in range(Fold("train", 0).count(discs))]
    runs = runs_of(("baseline", "depth"), discs, folds)
    figure = figure_ladder(25, runs, LABELS, discs)
    assert len(figure.data) == len(runs["depth"])
    dice = fold_scores(runs, discs).xs("test", level="split")["dice"].unstack("variant")
    assert figure.data[LABELS["depth"]].mean() == pytest.approx(dice["depth"].mean())  # folds of equal size
    assert figure.caption.startswith(
        f"From {dice['baseline'].mean():.3f} to {dice['depth'].mean():.3f} mean Dice on im"
    )
    added = stats.ttest_rel(dice["depth"], dice["baseline"])  # each image counts as one patient
    low, high = added.confidence_interval(0.95)
    told = with_interval(Interval((dice["depth"] - dice["baseline"]).mean(), low, high, added.pvalue))
    assert f"{LABELS['depth']} {told}." in figure.caption
    assert "the intervals are too narrow" in figure.caption
    assert figure.render("png")
