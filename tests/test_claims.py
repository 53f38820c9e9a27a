from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from conftest import draw_discs

from lib.claims import CLAIMS, PRIMARY, border_contrast, contrasts, explain, judge, patients_of
from lib.data import Dataset
from lib.statistics import contrast, image_differences

SHIFTS = {"baseline": 0.0, "noise": 0.05, "dropout": 0.0, "l2": -0.05}  # of every score, in train and test alike


def scores(dataset: Dataset, seeds: int, shifts: dict[str, float] = SHIFTS, seed: int = 0) -> pd.DataFrame:
    """Scores as `image_scores` gives them, of variants that differ by a known amount and a little noise."""
    rng = np.random.default_rng(seed)

    def rows() -> Iterator[dict]:
        for split, of_split in dataset.splits.items():
            for image in of_split.names:
                level = rng.uniform(0.5, 0.8)
                for run in range(seeds):
                    for variant, shift in shifts.items():
                        score = level + shift + rng.normal(0, 0.004)
                        key = {"variant": variant, "seed": run, "split": split, "image": image}
                        yield key | {"loss": 0.5, "dsc": score, "dice": score, "iou": 0.5}

    return pd.DataFrame(rows()).set_index(["variant", "seed", "split", "image"]).sort_index()


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    """Thirty images of twelve patients, half of whom are in both splits."""
    train, test = draw_discs(18, seed=1), draw_discs(12, seed=2)
    whom = tuple(f"p{i % 9}" for i in range(18)), tuple(f"p{i % 6 + 6}" for i in range(12))
    train, test = (type(s)(s.names, s.images, s.masks, w) for s, w in zip((train, test), whom, strict=True))
    return Dataset("discs", train, test)


def verdicts(by_image: pd.DataFrame, dataset: Dataset, metric: str = "dsc") -> dict[str, str]:
    return {claim["id"]: claim["verdict"] for claim in judge(by_image, dataset) if claim["metric"] == metric}


def test_verdicts_are_those_of_effects_put_in_by_hand(dataset: Dataset):
    told = verdicts(scores(dataset, seeds=8), dataset)
    assert told["C3a"] == "supported"  # test score + 0.05
    assert told["C3b"] == "not supported"  # both splits alike: the gap stays
    assert told["C3c"] == "supported"
    assert told["C4a"] == "not supported"
    assert told["C5b"] == "supported"  # training score - 0.05, test no better
    assert {told[claim] for claim in ("C1", "C4b", "C4c", "C5c")} == {"not run"}


def test_effects_the_other_way_round_contradict(dataset: Dataset):
    turned = {variant: -shift for variant, shift in SHIFTS.items()}
    told = verdicts(scores(dataset, seeds=8, shifts=turned), dataset)
    assert (told["C3a"], told["C3c"], told["C5b"]) == ("contradicted", "contradicted", "contradicted")


def test_few_runs_decide_nothing_whatever_they_show(dataset: Dataset):
    told = judge(scores(dataset, seeds=3), dataset)
    assert {claim["verdict"] for claim in told} == {"undecided", "not run"}
    assert all("Fewer than 6 runs decide nothing" in explain(c) for c in told if c["verdict"] == "undecided")


def test_one_run_gives_effects_without_intervals(dataset: Dataset):
    (claim,) = (c for c in judge(scores(dataset, seeds=1), dataset) if c["id"] == "C3a" and c["metric"] == "dsc")
    assert claim["effect"] == pytest.approx(0.05, abs=0.005)
    assert (claim["ci_low"], claim["p_value"], claim["verdict"]) == (None, None, "undecided")
    assert "too few runs or patients for an interval" in explain(claim)


def test_shuffling_the_variants_within_pairs_makes_supported_vanish(dataset: Dataset):
    """Which of two paired runs is called noise is decided by chance: at most the share that is false may remain."""
    by_image = scores(dataset, seeds=8)
    rng, supported = np.random.default_rng(0), 0
    for _ in range(40):
        swapped = by_image.copy()
        for run in range(8):
            if rng.random() < 0.5:
                for variant, other in (("noise", "baseline"), ("baseline", "noise")):
                    swapped.loc[(variant, run), ["dsc", "dice"]] = by_image.loc[
                        (other, run), ["dsc", "dice"]
                    ].to_numpy()
        supported += verdicts(swapped, dataset)["C3a"] == "supported"
    assert verdicts(by_image, dataset)["C3a"] == "supported"
    assert supported <= 4


def test_only_the_primary_family_is_adjusted(dataset: Dataset):
    by_image = scores(dataset, seeds=8)
    found = contrasts(by_image, dataset, "dsc")
    for variant in ("noise", "dropout", "l2"):
        differences = image_differences(by_image, variant, "dsc")
        for quantity in ("test", "train", "gap"):
            alone, ours = contrast(differences, quantity, patients_of(dataset)), found[variant, quantity]
            assert (ours.ci_high - ours.ci_low > alone.ci_high - alone.ci_low) == ((variant, quantity) in PRIMARY) or (
                variant,
                quantity,
            ) == max(PRIMARY, key=lambda key: found[key].p_value)


def test_every_claim_is_judged_once_for_each_score_and_explained(dataset: Dataset):
    told = judge(scores(dataset, seeds=8), dataset)
    assert [(c["id"], c["metric"]) for c in told] == [(c.id, m) for m in ("dsc", "dice") for c in CLAIMS]
    for claim in told:
        sentence = explain(claim)
        assert sentence.startswith(("Not run here", f"**{claim['verdict'].capitalize()}.**"))
        if claim["verdict"] != "not run":
            assert f"{claim['effect']:+.3f}" in sentence


def test_unknown_patients_are_said():
    split = draw_discs(8, seed=1)
    dataset = Dataset("discs", split, split)
    (claim,) = (c for c in judge(scores(dataset, seeds=8), dataset) if c["id"] == "C3a" and c["metric"] == "dsc")
    assert claim["n_patients"] is None
    assert "images taken as independent of each other" in explain(claim)


def test_border_contrast_is_the_colour_difference_across_the_border():
    mask = np.zeros((20, 20), dtype=bool)
    mask[:, 10:] = True
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    assert border_contrast(image, mask) == 0
    image[:, 10:] = 255  # black to white is 100 in CIELAB's lightness
    assert border_contrast(image, mask) == pytest.approx(100, abs=0.01)
    assert np.isnan(border_contrast(image, np.zeros_like(mask)))
    far = image.copy()
    far[:, :5], far[:, 15:] = 90, 90  # away from the border nothing counts
    assert border_contrast(far, mask) == pytest.approx(100, abs=0.01)
