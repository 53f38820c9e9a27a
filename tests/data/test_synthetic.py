import numpy as np
import pandas as pd
import pytest

from lib.data.dataset import Dataset
from lib.data.reading import load_dataset
from lib.data.synthetic import draw_dataset
from tests.tools.compare_sets import describe_glands, describe_images


@pytest.fixture(scope="module")
def synthetic() -> Dataset:
    return load_dataset("synthetic")


def test_it_has_the_studys_numbers_and_half_gland(synthetic: Dataset):
    assert (len(synthetic.train), len(synthetic.test), synthetic.image_size) == (85, 60, (128, 128))
    for split in (synthetic.train, synthetic.test):
        assert split.foreground_fraction == pytest.approx(0.5, abs=0.05)
        per_image = split.masks.mean(axis=(1, 2))
        assert per_image.min() < 0.3
        assert per_image.max() > 0.7


def test_it_is_deterministic_and_an_image_does_not_depend_on_how_many_are_drawn():
    few, many = draw_dataset(n_train=2, n_test=1), draw_dataset(n_train=4, n_test=2)
    for ours, theirs in zip(few, many, strict=True):
        n = len(ours.images)
        np.testing.assert_array_equal(ours.images, theirs.images[:n])
        np.testing.assert_array_equal(ours.masks, theirs.masks[:n])


def test_another_seed_draws_other_images():
    first, second = draw_dataset(seed=0, n_train=1, n_test=0)[0], draw_dataset(seed=1, n_train=1, n_test=0)[0]
    assert (first.images != second.images).mean() > 0.5


def test_most_patients_are_in_both_splits_and_some_only_in_test(synthetic: Dataset):
    train, test = set(synthetic.train.patients), set(synthetic.test.patients)
    assert len(train & test) > len(test - train) > 0


def test_stain_varies_between_patients_more_than_within(synthetic: Dataset):
    colour = synthetic.train.images.mean(axis=(1, 2))
    patients = np.array(synthetic.train.patients)
    means = np.array([colour[patients == patient].mean(axis=0) for patient in np.unique(patients)])
    within = np.mean([colour[patients == patient].std(axis=0) for patient in np.unique(patients)])
    assert means.std(axis=0).mean() > within


@pytest.fixture(scope="module")
def glands(synthetic: Dataset) -> pd.DataFrame:
    return describe_glands(synthetic)


def test_its_statistics_are_those_of_stained_colon(synthetic: Dataset, glands: pd.DataFrame):
    # The ranges hold the Warwick-QU images: python -m lib.synthetic --compare DIR.
    images = describe_images(synthetic).mean()
    for name, low, high in (
        ("red, mean", 190, 210),
        ("green, mean", 120, 142),
        ("blue, mean", 190, 210),
        ("green, sd within the image", 43, 54),
        ("white pixels, share", 0.08, 0.20),
        ("gradient, mean", 17, 23),
        ("glands", 7, 12),
    ):
        assert low < images[name] < high, name
    assert images["blue, glands less the rest"] > images["red, glands less the rest"] + 3  # haematoxylin is blue
    assert 300 < glands["gland, area (px)"].median() < 600
    assert 0.85 < glands["gland, solidity"].mean() < 0.97


def test_no_gland_is_a_crumb(glands: pd.DataFrame):
    assert glands["gland, area (px)"].min() >= 60


def test_glands_and_stroma_are_not_told_apart_by_brightness_alone(synthetic: Dataset):
    grey, masks = synthetic.train.images.mean(axis=3), synthetic.train.masks
    thresholds = np.arange(20, 250, 5)
    accuracy = [max(((grey < t) == masks).mean(), ((grey > t) == masks).mean()) for t in thresholds]
    assert max(accuracy) < 0.65


@pytest.mark.parametrize(("argument", "value"), [("size", 33), ("size", 14), ("n_train", -1), ("seed", -1)])
def test_arguments_out_of_range_are_refused_by_name(argument, value):
    with pytest.raises(ValueError, match=f"(?i){argument}"):
        draw_dataset(**{argument: value})
