import pandas as pd
import pytest

from lib.statistics import caution, describe_differences, direction, paired_differences


def scores(**variants: list[tuple[float, float]]) -> pd.DataFrame:
    """Train and test DSC of each variant's runs; Dice is DSC less a tenth."""
    rows = {
        (variant, seed, split): {"dsc": value, "dice": value - 0.1}
        for variant, runs in variants.items()
        for seed, run in enumerate(runs)
        for split, value in zip(("train", "test"), run, strict=True)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["variant", "seed", "split"])


THREE = scores(
    baseline=[(0.70, 0.60), (0.72, 0.66), (0.71, 0.63)],
    noise=[(0.71, 0.62), (0.70, 0.65), (0.71, 0.66)],
)


def test_differences_pair_runs_of_one_seed():
    differences = paired_differences(THREE, "noise", "dsc")
    assert differences["test"].tolist() == pytest.approx([0.02, -0.01, 0.03])
    assert differences["train"].tolist() == pytest.approx([0.01, -0.02, 0.0])
    assert differences["gap"].tolist() == pytest.approx([-0.01, -0.01, -0.03])


def test_differences_of_other_seeds_are_refused():
    unpaired = scores(baseline=[(0.7, 0.6), (0.7, 0.6)], noise=[(0.7, 0.6)])
    with pytest.raises(ValueError, match=r"seeds: expected those of the baseline, \[0, 1\], found \[0\]"):
        paired_differences(unpaired, "noise", "dsc")


def test_table_gives_mean_extremes_and_count():
    table = describe_differences(THREE, "noise")
    assert table.loc["DSC, test"].tolist() == ["+0.013", "-0.010", "+0.030", "2 of 3 pairs"]
    assert table.index.tolist() == ["DSC, test", "DSC, train", "DSC, gap", "Dice, test", "Dice, train", "Dice, gap"]


def test_caution_follows_the_numbers():
    assert "lie 0.060 apart in test DSC, more than the 0.013 between the two" in caution(THREE, "noise")
    steady = scores(baseline=[(0.7, 0.600), (0.7, 0.601)], noise=[(0.7, 0.65), (0.7, 0.65)])
    assert "lie 0.001 apart in test DSC, less than the 0.050 between the two" in caution(steady, "noise")
    collapsed = scores(baseline=[(0.5, 0.5), (0.5, 0.5)], noise=[(0.5, 0.5), (0.5, 0.5)])
    assert "lie 0.000 apart in test DSC, as far as the 0.000 between the two" in caution(collapsed, "noise")
    assert "single run" in caution(scores(baseline=[(0.7, 0.6)], noise=[(0.7, 0.65)]), "noise")


def test_direction_of_a_difference_that_prints_as_zero_is_nowhere():
    assert [direction(difference) for difference in (0.01, -0.01, 0.0, 0.0004)] == ["up", "down", "nowhere", "nowhere"]
