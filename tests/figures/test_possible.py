"""The figures and tables of section 4, on runs of the discs."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from lib.data.dataset import Dataset, Fold
from lib.figures.possible import (
    figure_beside,
    figure_cost,
    figure_ladder,
    figure_reliability,
    patient_table,
    score_table,
    settings_table,
)
from lib.runs.finish import finished
from lib.runs.plan import LADDER, Planned, variant_config
from lib.runs.run import Run
from lib.runs.scores import final_means, fold_scores

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
    return runs_of(("baseline", "symmetries"), discs, [None, None])


def test_settings_that_differ_are_listed_and_no_others(runs):
    table = settings_table(runs["baseline"][0].config, runs["symmetries"][0].config)
    assert table.loc["network"].tolist() == ["shallower_CNN_segment", "UNet"]
    assert table.loc["symmetries"].tolist() == ["False", "True"]
    assert not {"l2", "seed", "threads"} & set(table.index)


def test_tables_and_figures_hold_the_scores_of_the_runs(runs, discs: Dataset):
    expected = np.mean([final_means(run)["test"]["dice"] for run in runs["symmetries"]])
    assert float(score_table(runs, LABELS, discs).loc[LABELS["symmetries"], ("test", "Dice")]) == pytest.approx(
        expected, abs=5e-4
    )
    cost = figure_cost(23, runs, LABELS, discs)
    assert cost.data.groupby("network")["dice"].mean()[LABELS["symmetries"]] == pytest.approx(expected)
    beside = figure_beside(22, runs["baseline"], runs["symmetries"], discs)
    assert set(beside.data["which"]) == {"best", "worst"}
    reliable = figure_reliability(24, {name: of_name[0] for name, of_name in runs.items()}, discs)
    assert reliable.data.groupby("network")["share"].sum().to_numpy() == pytest.approx(1)
    assert patient_table(runs["symmetries"], discs) is None
    for figure in (cost, beside, reliable):
        assert figure.render("png")


def test_the_ladder_shows_every_fold(discs: Dataset):
    folds = [Fold("train", index) for index in range(Fold("train", 0).count(discs))]
    runs = runs_of(("baseline", "depth"), discs, folds)
    figure = figure_ladder(25, runs, LABELS, discs)
    assert len(figure.data) == len(runs["depth"])
    mean = fold_scores(runs, discs).xs("test", level="split")["dice"].groupby("variant").mean()
    assert figure.data[LABELS["depth"]].mean() == pytest.approx(mean["depth"], abs=0.02)  # folds of equal size
    assert figure.render("png")
