"""The sentences that open a report, on made-up results."""

import numpy as np
import pytest
from trained import lend_this_process, trained_runs

from lib.claims.findings import above_constant, findings, headline_numbers, learning_result, place
from lib.data.dataset import Dataset, Split
from lib.report.results import variant_results
from lib.runs import finish, store
from lib.runs.run import History
from lib.runs.scores import constant_means, final_means


def made_up(
    dsc=(0.70, 0.72),
    dice=(0.60, 0.66),
    train=(0.72, 0.74),
    noise=(0.70, 0.72),
    constant_dice: float = 0.65,
    loss: float = 0.4,
) -> dict:
    def variant(label: str, test, of_train=train) -> dict:
        runs = zip(test, dice, of_train, strict=True)
        return {
            "label": label,
            "runs": [
                {"train": {"dsc": t, "dice": 0.7, "loss": loss}, "test": {"dsc": s, "dice": d}} for s, d, t in runs
            ],
        }

    return {
        "dataset": {
            "foreground_fraction": {"train": 0.2},  # where one probability for all pixels costs 0.5004 nats
            "trivial": {"all gland": {"dsc": 0.5, "dice": constant_dice}, "no gland": {"dsc": 0.49, "dice": 0}},
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
    _, first, *_ = findings(made_up())
    assert "By the study's DSC, the share of equal pixels, the network is above" in first
    assert "it is no better than such an answer (0.63 against 0.65)" in first
    _, same, *_ = findings(made_up(constant_dice=0.4))
    assert "is above the best answer that is the same for every pixel, both in" in same


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ((0.72, 0.74), "higher on images that it was trained on: training minus test DSC is +0.020, no more than"),
        ((0.82, 0.84), "higher on images that it was trained on: training minus test DSC is +0.120, more than"),
        ((0.70, 0.72), "not score 0.01 higher on images that it was trained on: training minus test DSC is 0.000"),
        ((0.60, 0.62), "not score 0.01 higher on images that it was trained on: training minus test DSC is −0.100"),
    ],
)
def test_overfitting_is_said_where_the_gap_is_larger_than_what_matters(train, said):
    assert said in findings(made_up(train=train))[2]


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        ((0.70, 0.72), "No variant changes the mean test DSC by as much as seeds do (Noise 0.000; seeds 0.020)"),
        ((0.80, 0.82), "Noise changed the mean test DSC by more than seeds do (Noise +0.100; seeds 0.020)"),
        ((0.60, 0.62), "Noise changed the mean test DSC by more than seeds do (Noise −0.100; seeds 0.020)"),
    ],
)
def test_variants_are_set_beside_the_seed(noise, said):
    assert said in findings(made_up(noise=noise))[3]


def test_networks_that_learned_nothing_are_not_compared():
    diverged = findings(made_up(loss=19.6))
    assert len(diverged) == 3
    assert diverged[0] == "These runs cannot tell."
    assert diverged[1].startswith("No network learned anything: the training loss of every run (lowest 19.60) is no")
    assert "one probability for all pixels (0.50). Training diverged or was too short, so comparisons" in diverged[1]
    assert diverged[2] == findings(made_up())[1]
    one_learned = made_up(loss=0.5005)
    assert len(findings(one_learned)) == 3
    one_learned["variants"]["noise"]["runs"][0]["train"]["loss"] = 0.5003
    assert findings(one_learned) == findings(made_up())


def test_one_run_says_nothing_of_seeds():
    one = findings(made_up(dsc=(0.7,), dice=(0.6,), train=(0.75,), noise=(0.9,)))
    assert one[2].endswith("training minus test DSC is +0.050.")
    assert one[3] == "Changes in test DSC (Noise +0.200) are those of one run each: the seed alone may cause as much."


def test_headline_numbers_set_scores_beside_the_best_constant_answer_and_variants_beside_the_seed():
    assert headline_numbers(made_up()) == [
        (
            "0.71 vs 0.50",
            "pixel accuracy (the study's “DSC”) of the network and of the answer “everything is foreground”",
        ),
        ("0.63 vs 0.65", "Dice coefficient of the network and of the answer “everything is foreground”"),
        ("0.000 vs 0.020", "largest change of test DSC by a variant (Noise), and the range over 2 seeds"),
    ]
    one = made_up(dsc=(0.7,), dice=(0.6,), train=(0.75,), noise=(0.6,))
    assert headline_numbers(one)[2] == ("−0.100", "largest change of test DSC by a variant (Noise)")
    del one["variants"]["noise"]
    assert len(headline_numbers(one)) == 2


def test_the_question_of_the_title_is_answered_by_verdicts_or_else_by_seeds():
    assert findings(made_up())[0] == "On these runs, not measurably."
    assert findings(made_up(noise=(0.80, 0.82)))[0] == "So few runs cannot tell."
    one = made_up(dsc=(0.7,), dice=(0.6,), train=(0.75,), noise=(0.7,))
    assert findings(one)[0] == "One run of each network cannot tell."


@pytest.mark.parametrize(
    ("dsc", "dice", "said"),
    [
        ({}, {}, "none of the variants is shown to help"),
        (
            {"C3a": "supported"},
            {},
            "noise is shown to help by DSC, and none of the variants is shown to help by Dice at a threshold of 0.5",
        ),
        (
            {"C3a": "not supported"},
            {"C3a": "supported", "C4d": "supported"},
            "none of the variants is shown to help by DSC, and noise and dropout are shown to help by Dice at a "
            "threshold of 0.5",
        ),
        ({"C5d": "contradicted"}, {"C5d": "contradicted"}, "L2 is shown to help"),
        ({"C5d": "supported", "C4a": "supported"}, {"C4d": "undecided"}, "none of the variants is shown to help"),
    ],
)
def test_what_helps_is_what_the_verdicts_over_seeds_say(dsc, dice, said):
    six = (0.7,) * 6
    results = made_up(dsc=six, dice=six, train=six, noise=six)
    results["claims"] = [
        {"id": claim, "metric": metric, "verdict_seeds": verdict, "verdict": "supported"}
        for metric, verdicts in (("dsc", dsc), ("dice", dice))
        for claim, verdict in verdicts.items()
    ]
    assert findings(results)[0] == f"On these images, {said}."


def test_dropout_is_set_beside_the_baseline_that_trained_as_long():
    results = made_up()
    results["variants"] |= {
        "longer": made_up(noise=(0.80, 0.80))["variants"]["noise"] | {"label": "Baseline, longer"},
        "dropout": made_up(noise=(0.81, 0.81))["variants"]["noise"] | {"label": "Dropout"},
    }
    assert findings(results)[3].endswith(
        "(Noise 0.000, Dropout +0.010; seeds 0.020). Training the baseline as long as dropout changes it by +0.090."
    )


def ending(dsc: float, dice: float = 0.5, train: float = 0.6) -> History:
    return History([1, 2], {"dsc": [0.1, train], "dice": [0.1, 0.5]}, {"dsc": [0.1, dsc], "dice": [0.1, dice]}, [])


@pytest.mark.parametrize(
    ("runs", "baseline", "said"),
    [
        (
            [ending(0.58), ending(0.60)], [],
            "Noise: above the best constant answer in test DSC (0.59 against 0.50) and below the best constant answer "
            "in test Dice (0.50 against 0.65); training minus test DSC is +0.010 in the end.",
        ),
        (
            [ending(0.585), ending(0.60)], [ending(0.58), ending(0.60)],
            "Noise changes the mean test score by less than 0.01: +0.003 in DSC "
            "and 0.000 in Dice.",
        ),
        (
            [ending(0.55, 0.7), ending(0.55, 0.7)], [ending(0.58), ending(0.60)],
            "Noise ends 0.040 below the baseline in test DSC (whose seeds differ by 0.020) and 0.200 above the "
            "baseline in test Dice (whose seeds differ by 0.000).",
        ),
        (
            [ending(0.62)], [ending(0.58)],
            "Noise ends 0.040 above the baseline in test DSC and level with the baseline in test Dice.",
        ),
    ],
)  # fmt: skip
def test_what_learning_curves_show_follows_from_where_they_end(runs, baseline, said):
    assert learning_result("Noise", runs, baseline, {"dsc": 0.5, "dice": 0.65}) == said


def test_without_a_constant_answer_the_gap_alone_is_said():
    assert learning_result("L2", [ending(0.5)], [], {}) == "L2: training minus test DSC is +0.100 in the end."


def draw_nuclei(count: int, seed: int, size: int = 32) -> Split:
    """Dark ellipses on a pale ground, six an image and a tenth of it: "no foreground" scores 0.9 in DSC, 0 in Dice."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    masks = np.zeros((count, size, size), bool)
    for mask in masks:
        for cy, cx, height, width in zip(*rng.uniform(3, size - 3, (2, 6)), *rng.uniform(1.5, 3, (2, 6)), strict=True):
            mask |= ((y - cy) / height) ** 2 + ((x - cx) / width) ** 2 < 1
    images = np.where(masks[..., None], (90, 60, 140), (225, 190, 215)) + rng.integers(-20, 20, (*masks.shape, 3))
    return Split(tuple(f"image_{i:02d}" for i in range(count)), images.astype(np.uint8), masks)


@pytest.mark.slow
def test_on_nuclei_the_sentences_say_what_real_runs_score(monkeypatch, tmp_path):
    monkeypatch.setattr(store, "STORE", tmp_path)
    monkeypatch.setattr(finish, "lend_workers", lend_this_process)
    nuclei = Dataset("nuclei", draw_nuclei(8, seed=1), draw_nuclei(6, seed=2))
    constant = constant_means(nuclei.test)
    said = {}
    for epochs in (1, 60):
        runs = trained_runs(nuclei, ("baseline", "noise"), seeds=2, epochs=epochs, learning_rate=0.01)
        results = {
            "variants": variant_results(runs),
            "dataset": {
                "trivial": constant,
                "foreground_fraction": {"train": nuclei.train.foreground_fraction},
            },
            "claims": [],
        }
        said[epochs] = " ".join(findings(results))
        scores = [final_means(run)["test"] for run in runs["baseline"]]
        for metric, floor in (("dsc", constant["no gland"]["dsc"]), ("dice", constant["all gland"]["dice"])):
            mean = sum(score[metric] for score in scores) / 2
            assert f"({mean:.2f} against {floor:.2f})" in said[epochs]
            assert (place([score[metric] for score in scores], floor) == "above") == (epochs == 60)
    assert "above the best answer that is the same for every pixel, both" in said[60]
    assert "above the best answer" not in said[1]
