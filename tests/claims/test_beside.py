"""What stands beside a variant's score, on made-up runs of the discs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lib.claims.beside import (
    CHOSEN,
    DICE,
    FOREGROUND,
    LOSS,
    MEASURES,
    beside_table,
    changes,
    measures_by_run,
)
from lib.data.dataset import Dataset, Split

SURFACE = MEASURES["surface"]


@pytest.fixture
def test(discs: Dataset) -> Split:
    return replace(discs.test, grades=("benign",) * 4 + ("malignant",) * 2)


def measured(test: Split, seeds: int = 6, **changed: dict[str, float]) -> pd.DataFrame:
    """Measures of runs that differ a little from seed to seed; a variant differs from the baseline by what is given."""
    means = {"dsc": 0.6, "dice": 0.5, "dice_chosen": 0.6, "surface": 0.4, "loss": 0.6, "foreground": 0.3}
    rng = np.random.default_rng(0)
    tables = {}
    for variant, by in {"baseline": {}, **changed}.items():
        for seed in range(seeds):
            values = {name: mean + by.get(name, 0) + rng.normal(0, 1e-3) for name, mean in means.items()}
            tables[variant, seed, "test"] = pd.DataFrame(values, index=list(test.names))
    table = pd.concat(tables, names=["variant", "seed", "split", "image"])
    return measures_by_run(table[["loss", "dsc", "dice"]], table[["dice_chosen", "surface", "foreground"]], test)


def title_of(by_run: pd.DataFrame, test: Split) -> str:
    return (
        beside_table(by_run, test)
        .attrs["caption"]
        .removesuffix(" Each cell: the mean over runs and test images, then the difference.")
    )


def test_measures_are_means_over_images_and_of_dice_in_each_grade(test: Split):
    index = pd.MultiIndex.from_product([["baseline"], [0], ["train", "test"], test.names])
    index.names = ["variant", "seed", "split", "image"]
    by_image = pd.DataFrame({"loss": 1.0, "dsc": 0.5, "dice": [0.0] * 6 + [0.1, 0.2, 0.3, 0.4, 0.6, 0.8]}, index=index)
    further = pd.DataFrame({"surface": 0.2, "foreground": 0.3, "dice_chosen": 0.4}, index=index[6:])
    found = measures_by_run(by_image, further, test).loc[("baseline", 0)]
    assert found[[DICE, "Dice, benign (4)", "Dice, malignant (2)"]].tolist() == pytest.approx([0.4, 0.25, 0.7])
    assert found[[SURFACE, FOREGROUND, CHOSEN, LOSS]].tolist() == pytest.approx([0.2, 0.3, 0.4, 1])
    ungraded = measures_by_run(by_image, further, replace(test, grades=None))
    assert list(ungraded) == list(MEASURES.values())


def test_a_variant_is_compared_with_the_network_trained_as_long(test: Split):
    by_run = measured(test, longer={"dice": 0.1}, dropout={"dice": 0.12}, noise={"dice": 0.01})
    found = changes(by_run)
    assert {name: round(of[DICE].effect, 2) for name, of in found.items()} == {
        "longer": 0.1, "dropout": 0.02, "noise": 0.01,
    }  # fmt: skip
    assert found["dropout"][DICE].df == 5
    table = beside_table(by_run, test)
    assert table.loc[DICE, "Dropout, minus baseline, longer"].startswith("0.6")
    assert ": +0.0" in table.loc[DICE, "Dropout, minus baseline, longer"]
    assert "[" in table.loc[DICE, "Dropout, minus baseline, longer"]
    assert "[" not in "".join(beside_table(measured(test, seeds=5, noise={"dice": 0.1}), test)["Noise, minus baseline"])
    assert list(table) == ["Dropout, minus baseline, longer", "Noise, minus baseline"]
    assert f"{FOREGROUND} (truth {test.foreground_fraction:.3f})" in table.index


def test_the_title_names_who_pays_for_dice_with_a_border_and_how_much_foreground_there_is(test: Split):
    title = title_of(measured(test, noise={"dice": 0.1, "surface": -0.1, "foreground": 0.2}), test)
    assert title.startswith("Noise is better in Dice (+0.10")
    assert f"and worse in {SURFACE} (−0.10" in title
    assert "Noise changes Dice by +0.10" in title
    assert "at the chosen threshold by +0.00" in title
    assert f"Noise calls 0.50 of the pixels foreground, where {test.foreground_fraction:.2f} are." in title


def test_a_higher_loss_is_worse(test: Split):
    changed = {"dice": 0.1, "dice_chosen": 0.1, "loss": 0.2}
    assert f"worse in {LOSS} (+0.2" in title_of(measured(test, noise=changed), test)
    assert title_of(measured(test, noise=changed | {"loss": -0.2}), test) == (
        "No variant is shown to pay for one measure with another on these images."
    )


def test_more_foreground_alone_is_neither_better_nor_worse(test: Split):
    title = title_of(measured(test, noise={"foreground": 0.2}), test)
    assert title.startswith("No variant")


def test_few_runs_have_numbers_and_no_title(test: Split):
    by_run = measured(test, seeds=5, noise={"dice": 0.1, "surface": -0.1})
    assert title_of(by_run, test).startswith("Fewer than 6 runs do not show")
    one = beside_table(measured(test, seeds=1, noise={"dice": 0.1}), test)
    assert "[" not in one.loc[DICE, "Noise, minus baseline"]  # one run has no interval
