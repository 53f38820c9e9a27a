"""The sentences that open a report, on made-up results."""

import pytest

from lib.claims.findings import above_constant, findings


def made_up(
    dsc=(0.70, 0.72), dice=(0.60, 0.66), train=(0.72, 0.74), noise=(0.70, 0.72), constant_dice: float = 0.65
) -> dict:
    def variant(label: str, test, of_train=train) -> dict:
        runs = zip(test, dice, of_train, strict=True)
        return {
            "label": label,
            "runs": [{"train": {"dsc": t, "dice": 0.7}, "test": {"dsc": s, "dice": d}} for s, d, t in runs],
        }

    return {
        "dataset": {
            "trivial": {"all gland": {"dsc": 0.5, "dice": constant_dice}, "no gland": {"dsc": 0.49, "dice": 0}}
        },
        "variants": {"baseline": variant("Baseline", dsc), "noise": variant("Noise", noise)},
    }


@pytest.mark.parametrize(
    ("scores", "place"),
    [
        ((0.70, 0.72), "above"),
        ((0.30, 0.40), "below"),
        ((0.495, 0.505), "no better than"),
        ((0.45, 0.51), "no better than"),
        ((0.45, 0.70), "not reliably above"),
        ((0.505, 0.505), "no better than"),
        ((0.70,), "above"),
    ],
)
def test_a_network_is_above_a_constant_answer_only_if_every_run_is(scores, place):
    results = made_up(dsc=scores, dice=scores, train=scores, noise=scores)
    assert above_constant(results, "dsc") == place


def test_scores_that_disagree_are_both_said():
    first, *_ = findings(made_up())
    assert "By the study's DSC, the share of equal pixels, the network is above" in first
    assert "it is no better than such an answer (0.63 against 0.65)" in first
    same, *_ = findings(made_up(constant_dice=0.4))
    assert "is above the best answer that is the same for every pixel, both in" in same


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ((0.72, 0.74), "higher on images that it was trained on: training minus test DSC is +0.020, no more than"),
        ((0.82, 0.84), "higher on images that it was trained on: training minus test DSC is +0.120, more than"),
        ((0.70, 0.72), "no overfitting to cure: training minus test DSC is 0.000, no more than"),
        ((0.60, 0.62), "no overfitting to cure: training minus test DSC is −0.100, more than"),
    ],
)
def test_overfitting_is_said_where_the_gap_is_larger_than_what_matters(train, said):
    assert said in findings(made_up(train=train))[1]


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        ((0.70, 0.72), "No variant changes the mean test DSC by as much as seeds do (Noise 0.000; seeds 0.020)"),
        ((0.80, 0.82), "More than seeds do (0.020), Noise changed the mean test DSC (Noise +0.100)"),
        ((0.60, 0.62), "More than seeds do (0.020), Noise changed the mean test DSC (Noise −0.100)"),
    ],
)
def test_variants_are_set_beside_the_seed(noise, said):
    assert said in findings(made_up(noise=noise))[2]


def test_one_run_says_nothing_of_seeds():
    one = findings(made_up(dsc=(0.7,), dice=(0.6,), train=(0.75,), noise=(0.9,)))
    assert one[1].endswith("training minus test DSC is +0.050.")
    assert one[2] == "Changes in test DSC (Noise +0.200) are those of one run each: the seed alone may cause as much."
