"""Sentences and tables that are made of numbers, with the words that the numbers call for."""

from dataclasses import replace

import pandas as pd
import pytest
from conftest import draw_discs

from lib.claims import words
from lib.data.dataset import Dataset, Split
from lib.runs.plan import variant_config
from lib.runs.run import Run


@pytest.fixture
def dataset() -> Dataset:
    """Six training and four test images of unknown patients."""
    return Dataset("discs", draw_discs(6, seed=1), draw_discs(4, seed=2))


def of_patients(split: Split, patients: str) -> Split:
    return replace(split, patients=tuple(patients))


def by_image(dsc: list[float], dice: list[float], train: float = 0.9) -> pd.DataFrame:
    """Scores as `image_scores` gives them: of one run of the baseline, on one training image and some test images."""
    scores = {("baseline", 0, "train", "a"): {"dsc": train, "dice": train}}
    for i, (one, two) in enumerate(zip(dsc, dice, strict=True)):
        scores["baseline", 0, "test", f"image_{i}"] = {"dsc": one, "dice": two}
    return pd.DataFrame(scores).T.rename_axis(["variant", "seed", "split", "image"])


def test_numbers_have_true_minus_signs_and_zero_has_none():
    assert [words.number(x) for x in (0.0123, -0.0123, -0.0004, 0.0)] == ["+0.012", "−0.012", "0.000", "0.000"]
    assert words.number(-0.5, ".2f") == "−0.50"


def test_shared_patients_are_a_warning_and_unknown_ones_are_said(dataset: Dataset):
    shared = replace(dataset, train=of_patients(dataset.train, "aabbcc"), test=of_patients(dataset.test, "bcde"))
    assert words.independence(shared) == (
        "**Warning.** The training and test sets share 2 patients (b, c), so test scores say little about new patients."
    )
    second = replace(shared, test=of_patients(dataset.test, "defg"), test_b=of_patients(dataset.test, "adef"))
    assert words.independence(second) == (
        "**Warning.** The training and second test sets share 1 patient (a), so second test scores say little about "
        "new patients."
    )
    apart = replace(shared, test=of_patients(dataset.test, "defg"))
    assert words.independence(apart) == "No patient is in both the training set and a test set."
    assert "patients are unknown" in words.independence(dataset)
    assert (words.patients_in_folds(dataset)[-11:], words.patients_in_folds(shared)[-13:]) == (
        "new images.",
        "new patients.",
    )


def test_repeated_images_are_named(dataset: Dataset):
    assert words.repeated_images(dataset) == "No image occurs twice."
    images = dataset.test.images.copy()
    images[1] = dataset.train.images[0]
    twice = replace(dataset, test=replace(dataset.test, images=images))
    assert words.repeated_images(twice) == (
        "**Warning.** 1 image occurs more than once: train image_00, test image_01."
    )


def test_what_the_networks_see_is_said_with_the_images_that_have_no_stains(dataset: Dataset):
    assert words.network_input(dataset, "rgb") == "The networks of this run see the original RGB images."
    images = dataset.train.images.copy()
    images[0] = 7
    one_grey = replace(dataset, train=replace(dataset.train, images=images))
    assert words.network_input(one_grey, "unmixed") == (
        "The networks of this run see unmixed stains instead of RGB. 1 of the 6 training images is grey and has no "
        "stains to unmix."
    )


def test_original_sizes_are_listed_up_to_a_number(dataset: Dataset):
    assert words.image_sizes(dataset).startswith("The images were drawn at this size. SHA-256 of names")
    sizes = tuple((10 + i, 20) for i in range(6))
    resized = replace(dataset, train=replace(dataset.train, original_sizes=sizes))
    assert words.image_sizes(resized, most=2).startswith("Original sizes in pixels: 20 × 10, 20 × 11 and 4 more. SHA")


def test_the_constant_answers_score_the_share_of_their_class(dataset: Dataset):
    table = words.constant_table(dataset.test)
    foreground = dataset.test.foreground.mean()
    assert table.loc["all foreground", "DSC"] == f"{foreground:.2f}"
    assert table.loc["no foreground"].tolist() == [f"{1 - foreground:.2f}", "0.00"]
    assert table.attrs["caption"].startswith(
        f"The same answer for every pixel scores up to {1 - foreground:.2f} in DSC and {table['Dice'].max()} in Dice."
    )


def test_training_is_described_from_its_configuration():
    assert words.training_setup(variant_config("baseline", 0, 60), seeds=20) == (
        "Loss: binary cross-entropy. Optimizer: Adam, learning rate 0.001, batches of 8 images, 60 epochs, 20 runs "
        "(seeds 0 to 19). Scores are those after the last epoch; a pixel counts as foreground where its probability "
        "exceeds 0.5."
    )
    assert "1 epoch, one run (seed 0)." in words.training_setup(variant_config("baseline", 0, 1), seeds=1)


def test_the_range_over_images_says_whether_the_two_scores_agree():
    assert words.image_range(by_image([0.5, 0.6, 0.7], [0.2, 0.3, 0.1])) == (
        "Over the 3 test images, DSC ranges from 0.500 to 0.700 and Dice from 0.100 to 0.300; their rank correlation "
        "is −0.50. Here the best image by DSC is not the best by Dice, and the worst image by DSC is not the worst by "
        "Dice."
    )
    nothing = words.image_range(by_image([0.5, 0.6], [0.0, 0.0]))
    assert "rank correlation is undefined, since one does not vary." in nothing
    assert nothing.endswith("**The network predicts almost no foreground here**: train it longer (`EPOCHS=`).")


def test_an_epoch_of_dropout_is_set_beside_one_of_the_baseline():
    config = variant_config("baseline", 0, 3)
    slow, fast = (Run(config, None, seconds, [], {}, {}) for seconds in ([0.3, 0.3, 9.0], [0.2, 0.2, 0.1]))
    said = words.epoch_cost([slow], [fast])
    assert said.startswith(
        "An epoch of dropout takes 1.5 times as long as one of the baseline, by the medians (0.3 and"
    )


def test_the_studys_best_and_worst_image_are_ranked_where_the_images_can_be_the_studys(dataset: Dataset):
    dsc = [0.5] * 60
    dsc[31], dsc[3], dsc[9] = 0.8, 0.9, 0.1
    images = replace(dataset, train=replace(dataset.train, names=tuple("a" * 85)))
    said = words.studys_extremes(by_image(dsc, dsc), images)
    assert said == "If images 31 and 9 of these are the study's, its best ranks 2 of 60 here, and its worst 60."
    assert words.studys_extremes(by_image(dsc, dsc), replace(images, name="synthetic")) == ""
    assert words.studys_extremes(by_image(dsc[:40], dsc[:40]), images) == ""


def test_noise_longer_training_and_penalty_are_set_beside_what_they_compare_with():
    assert words.noise_level(0.03).endswith("intensities from 0 to 1, which is 7.6 of 255 grey levels.")
    said = words.longer_training(120, 60)
    assert said == "The study does not say how many epochs; we use 120, twice the baseline's 60."
    assert "3 times the baseline's 10" in words.longer_training(30, 10)
    assert words.penalty_share(0.01, 0.4) == (
        "After training, the cross-entropy on the training images is 0.400 and the penalty 0.0100, 2% of it."
    )
    assert "the penalty 0.0010, under 1% of it." in words.penalty_share(0.001, 0.4)
    assert words.penalty_share(0.01, 0.0).endswith("the penalty 0.0100.")


def test_the_deeper_networks_table_has_the_best_constant_answer_below(dataset: Dataset):
    scores = pd.concat([by_image([0.6], [0.5]), by_image([0.7], [0.2]).rename(index={"baseline": "deeper"})])
    table = words.depth_table(scores, dataset)
    assert list(table.index) == ["deeper", "shallower", "best constant answer"]
    assert table.loc["deeper", ["DSC, test", "Dice, training"]].tolist() == ["0.700", "0.900"]
    assert table.attrs["caption"].startswith(
        "Training DSC is 0.900 for the deeper network and 0.900 for the shallower."
    )
    assert table.loc["best constant answer", "DSC, test"] == f"{1 - dataset.test.foreground.mean():.3f}"
