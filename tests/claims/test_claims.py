import json
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import draw_discs
from records import check_recomputed, judgement, written
from trained import trained_runs

from lib.claims.evidence import Evidence, border_contrast, image_table, of_images
from lib.claims.intervals import Interval, Needed, contrast, image_differences
from lib.claims.verdicts import (
    CLAIMS,
    PRIMARY,
    QUOTES,
    Judgement,
    NotRun,
    claim_results,
    contrasts,
    judge,
    may_be_decided,
)
from lib.claims.words import (
    about_intervals,
    effects_table,
    explain,
    further_variants,
    share_of_epochs,
    with_interval,
)
from lib.data.dataset import Dataset, Fold
from lib.figures.claims import entries
from lib.runs import store
from lib.runs.plan import EXPERIMENTS, VARIANTS, Variant
from lib.runs.scores import image_scores

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
    patients = tuple(f"p{i % 9}" for i in range(18)), tuple(f"p{i % 6 + 6}" for i in range(12))
    train, test = (replace(split, patients=ids) for split, ids in zip((train, test), patients, strict=True))
    return Dataset("discs", train, test)


def quick(by_image: pd.DataFrame, dataset: Dataset) -> Evidence:
    """The evidence of a quick report in which nothing was scored after equal epochs."""
    return Evidence(by_image, None, None, None, **of_images(dataset))


def one(evidence: Evidence, claim: str, metric: str = "dsc") -> Judgement | NotRun:
    """The judgement of one claim in one score."""
    (found,) = (j for j in judge(evidence) if (j.claim.id, j.metric) == (claim, metric))
    return found


def in_folds(dataset: Dataset, effects: dict[str, float], divisions: int = 8) -> pd.DataFrame:
    """Scores as `fold_scores` gives them: each variant lies above the others by its effect, divisions scatter."""
    rng = np.random.default_rng(1)
    variants = [v for name in ("new patients", "searches") for v in EXPERIMENTS[name].variants]
    images = Fold("all", 0).names(dataset)
    keys = [(v, d, s, i) for v in variants for d in range(divisions) for s in ("train", "test") for i in images]
    index = pd.MultiIndex.from_tuples(keys, names=["variant", "seed", "split", "image"])
    values = 0.6 + rng.normal(0, 0.004, len(index)) + index.get_level_values("variant").map(lambda v: effects.get(v, 0))
    return pd.DataFrame({"loss": 0.5, "dsc": values, "dice": values, "iou": 0.5}, index=index)


def full(dataset: Dataset, deeper: float = -0.3, equal: float = -0.03, **effects: float) -> Evidence:
    """The evidence of a full study with given effects, those of `effects` in folds."""
    by_image = scores(dataset, seeds=8, shifts=SHIFTS | {"deeper": deeper})
    equal_epochs = scores(dataset, seeds=8, shifts=SHIFTS | {"dropout": equal})
    shifts = {"noise": 0.03, "dropout 0.5": equal} | {name.replace("_", " "): by for name, by in effects.items()}
    return Evidence(by_image, 60, equal_epochs, in_folds(dataset, shifts), **of_images(dataset))


def verdicts(found: pd.DataFrame | Evidence, dataset: Dataset, metric: str = "dsc") -> dict[str, str]:
    evidence = found if isinstance(found, Evidence) else quick(found, dataset)
    return {judged.claim.id: judged.verdict for judged in judge(evidence) if judged.metric == metric}


def test_verdicts_are_those_of_effects_put_in_by_hand(dataset: Dataset):
    told = verdicts(scores(dataset, seeds=8), dataset)
    assert told["C3a"] == "supported"  # test score + 0.05
    assert told["C3b"] == "not supported"  # both splits alike: the gap stays
    assert told["C3c"] == "supported"
    assert told["C4a"] == "not supported"
    assert told["C5b"] == "not supported"  # training score - 0.05, test no better, but no gap was closed
    assert told["C4d"] == "not supported"
    assert told["C4e"] == told["C5d"] == "supported"  # nothing lost in training, nothing gained on test
    assert {told[claim] for claim in ("C1", "C4b", "C4c", "C5c")} == {"not run"}


def test_effects_the_other_way_round_contradict(dataset: Dataset):
    turned = {variant: -shift for variant, shift in SHIFTS.items()}
    told = verdicts(scores(dataset, seeds=8, shifts=turned), dataset)
    assert (told["C3a"], told["C3c"], told["C5b"]) == ("contradicted", "contradicted", "contradicted")
    assert told["C5d"] == "contradicted"  # L2 improved the test score


def test_what_patients_leave_open_seeds_may_decide(dataset: Dataset):
    """Noise helps on the images of some patients and hurts on others: on these images it helps, on others who knows."""
    by_image = scores(dataset, seeds=8, shifts=dict.fromkeys(SHIFTS, 0.0))
    for patient, shift in (("p6", 0.2), ("p7", -0.1), ("p8", -0.1), ("p9", 0.1)):
        images = [n for n, who in zip(dataset.test.names, dataset.test.patients, strict=True) if who == patient]
        by_image.loc[("noise", slice(None), "test", images), "dsc"] += shift
    judged = one(quick(by_image, dataset), "C3a")
    assert (judged.verdict_seeds, judged.verdict) == ("supported", "undecided")
    assert judged.over_seeds.effect == judged.estimate.effect == pytest.approx(0.1 / 6, abs=0.005)
    results = claim_results(judged)
    assert (results["verdict_seeds"], results["verdict"]) == ("supported", "undecided")
    assert results["seed_low"] > 0 > results["ci_low"]


def test_an_open_claim_says_what_would_decide_it_and_a_decided_one_does_not(dataset: Dataset):
    by_image = scores(dataset, seeds=8, shifts=dict.fromkeys(SHIFTS, 0.0))
    p6 = [n for n, who in zip(dataset.test.names, dataset.test.patients, strict=True) if who == "p6"]
    by_image.loc[("noise", slice(None), "test", p6), ["dsc", "dice"]] += 0.2
    judged = {each.claim.id: each for each in judge(quick(by_image, dataset)) if each.metric == "dsc"}
    opened, decided = judged["C3a"], judged["C5a"]
    assert (opened.verdict, opened.needed.no_effect, opened.needed.n_runs) == ("undecided", False, None)
    assert (decided.verdict, decided.needed) == ("not supported", None)
    assert f"in DSC about {opened.needed.n_patients} patients like these, if the effect" in explain(opened, opened)
    assert "To settle it" not in explain(decided, decided)
    assert claim_results(opened)["needed"] == {
        "no_effect": False, "n_runs": None, "n_patients": opened.needed.n_patients
    }  # fmt: skip
    assert claim_results(decided)["needed"] is None


def test_what_would_decide_a_claim_is_said_for_each_score_and_question():
    needed = Needed(no_effect=True, n_runs=14, n_patients=None)
    rest = written(verdict="undecided", verdict_seeds="undecided", by_run=[0.02] * 20)
    dsc = replace(judgement(rest), needed=needed, needed_seeds=replace(needed, n_runs=None), n_divisions=8)
    dice = replace(dsc, metric="dice", needed=Needed(no_effect=False, n_runs=None, n_patients=40), needed_seeds=None)
    text = explain(dsc, dice)
    assert (
        "To settle it on these images with a power of 80%, a new study needs in DSC more than 100 runs, if there is no"
        in text
    )
    assert (
        "To settle it for other patients with a power of 80%, a new study needs in DSC about 14 divisions, if there is "
        "no effect; in Dice about 40 patients like these, if the effect is as estimated." in text
    )
    assert "divisions alone" not in text
    beyond = replace(needed, n_runs=None)
    patients_alone = explain(replace(dsc, needed=beyond), dice)
    assert "more than 20 times as many patients, or more patients and divisions, if" in patients_alone
    assert "as estimated. Up to 100 divisions alone would not suffice." in patients_alone
    assert "about 14" not in explain(replace(dsc, verdict="supported"), dice)


def test_few_runs_decide_nothing_whatever_they_show(dataset: Dataset):
    judged = judge(quick(scores(dataset, seeds=3), dataset))
    assert {each.verdict for each in judged} == {"undecided", "not run"}
    assert 'class="verdict' not in entries(judged)
    assert 'class="verdict' in entries(judge(quick(scores(dataset, seeds=8), dataset)))


def test_one_run_gives_effects_without_intervals(dataset: Dataset):
    judged = one(quick(scores(dataset, seeds=1), dataset), "C3a")
    assert judged.estimate.effect == pytest.approx(0.05, abs=0.005)
    results = claim_results(judged)
    assert (results["ci_low"], results["p_value"], results["verdict"]) == (None, None, "undecided")
    assert explain(judged, judged) == ""


@pytest.mark.slow
def test_shuffling_the_variants_within_pairs_makes_supported_vanish(dataset: Dataset):
    """Which of two paired runs is called noise is decided by chance: at most the share that is false may remain."""
    by_image = scores(dataset, seeds=8)
    rng, supported = np.random.default_rng(0), 0
    for _ in range(20):
        swapped = by_image.copy()
        for run in range(8):
            if rng.random() < 0.5:
                for variant, other in (("noise", "baseline"), ("baseline", "noise")):
                    swapped.loc[(variant, run), ["dsc", "dice"]] = by_image.loc[
                        (other, run), ["dsc", "dice"]
                    ].to_numpy()
        supported += verdicts(swapped, dataset)["C3a"] == "supported"
    assert verdicts(by_image, dataset)["C3a"] == "supported"
    assert supported <= 2


def test_only_the_primary_family_is_adjusted(dataset: Dataset):
    by_image = scores(dataset, seeds=8)
    evidence = quick(by_image, dataset)
    found = contrasts(evidence, "dsc")
    seeds = {key: each.over_seeds for key, each in found.items()}
    for variant in ("noise", "dropout", "l2"):
        differences = image_differences(by_image, variant, "dsc")
        for quantity in ("test", "train", "gap"):
            alone = contrast(differences, quantity, evidence.patients).over_patients
            ours = found[variant, quantity].over_patients
            plain = contrast(differences, quantity).over_seeds
            assert (seeds[variant, quantity].ci_high > plain.ci_high) == ((variant, quantity) in PRIMARY) or (
                (variant, quantity) == max(PRIMARY, key=lambda key: seeds[key].p_value)
            )
            assert (ours.ci_high - ours.ci_low > alone.ci_high - alone.ci_low) == ((variant, quantity) in PRIMARY) or (
                variant,
                quantity,
            ) == max(PRIMARY, key=lambda key: found[key].over_patients.p_value)


def test_every_claim_is_judged_once_for_each_score_and_has_one_entry(dataset: Dataset):
    judged = judge(quick(scores(dataset, seeds=8), dataset))
    assert [(j.claim.id, j.metric) for j in judged] == [(c.id, m) for m in ("dsc", "dice") for c in CLAIMS]
    _, *found = entries(judged).split("#### ")
    for claim, dsc, dice, entry in zip(CLAIMS, judged[: len(CLAIMS)], judged[len(CLAIMS) :], found, strict=True):
        assert entry.startswith(f'{claim.id}: {claim.statement}\n\n> **THE STUDY** "{QUOTES[claim.id]}"\n\n')
        assert explain(dsc, dice) in entry
        rows = re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>', entry)
        expected = [
            (f"{name}, {question}", with_interval(estimate), "open" if verdict == "undecided" else verdict)
            for name, one in (("DSC", dsc), ("Dice", dice))
            if one.verdict != "not run"
            for question, estimate, verdict in (
                ("these images", one.over_seeds, one.verdict_seeds), ("other patients", one.estimate, one.verdict)
            )
        ]  # fmt: skip
        assert [(label, shown, re.sub("<.*?>", "", mark)) for label, _, shown, mark in rows] == expected
        assert all(drawn.count("<svg") == 1 and 'class="range"' in drawn for _, drawn, *_ in rows)
    assert "undecided" not in re.sub("<.*?>", "", entries(judged))


def test_an_effect_is_written_with_its_interval_and_zero_has_no_sign():
    nan = float("nan")
    assert with_interval(Interval(0.0123, -0.0036, -0.0001, 0.5)) == "+0.012 [−0.004, 0.000]"
    assert with_interval(Interval(0.0123, -0.0036, -0.0006, 0.5)) == "+0.012 [−0.004, −0.001]"
    assert with_interval(Interval(-0.01, nan, nan, nan)) == "−0.010"
    assert with_interval(Interval(nan, nan, nan, nan)) == "-"


def test_a_full_study_leaves_no_claim_without_verdict_and_interval(dataset: Dataset):
    judged = judge(full(dataset))
    assert len(judged) == 2 * len(CLAIMS)
    for each in judged:
        assert each.verdict != "not run"
        assert each.estimate.ci_low < each.estimate.ci_high
        assert len(each.by_run) == 8
        assert each.n_divisions == (0 if each.claim.id in ("C1", "C2") else 8)
        assert (each.over_seeds is None) == (each.claim.id in ("C4b", "C5c"))
    assert json.dumps([claim_results(each) for each in judged], allow_nan=False)


def test_the_deeper_network_could_not_be_trained_if_it_stays_at_a_trivial_answer(dataset: Dataset):
    """The better trivial answer on the discs has a Dice of about 0.33, with all of the image foreground."""
    assert verdicts(full(dataset, deeper=-0.1), dataset, "dice")["C1"] == "contradicted"  # 0.55: it was trained
    by_image = full(dataset).by_image.copy()
    by_image.loc["deeper", "dice"] = 0.0
    assert one(quick(by_image, dataset), "C1", "dice").untrained == 8
    assert verdicts(by_image, dataset, "dice")["C1"] == "supported"
    by_image.loc[["deeper", "baseline"], "dice"] = 0.0
    assert verdicts(by_image, dataset, "dice")["C1"] != "supported"


def shifted(by_image: pd.DataFrame, variant: str, split: str, by: float) -> pd.DataFrame:
    moved = by_image.copy()
    rows = (moved.index.get_level_values("variant") == variant) & (moved.index.get_level_values("split") == split)
    moved.loc[rows, ["dsc", "dice"]] += by
    return moved


def test_closing_the_gap_by_hurting_training_needs_a_closed_gap_and_a_test_no_better(dataset: Dataset):
    none = scores(dataset, seeds=8, shifts=dict.fromkeys(SHIFTS, 0.0))
    baseline_ahead = none.copy()
    for variant in SHIFTS:  # all train 0.1 better than they test
        baseline_ahead = shifted(baseline_ahead, variant, "train", 0.1)
    hurt = shifted(baseline_ahead, "l2", "train", -0.05)
    assert verdicts(hurt, dataset)["C5b"] == "supported"
    assert verdicts(shifted(hurt, "l2", "test", 0.03), dataset)["C5b"] == "contradicted"
    assert verdicts(shifted(hurt, "l2", "test", -0.05), dataset)["C5b"] == "not supported"  # the gap stayed


def with_gaps(dataset: Dataset, baseline: float, variant: float) -> pd.DataFrame:
    """Scores of which the training ones lie above those on test by a gap, the same for all variants but L2."""
    by_image = scores(dataset, seeds=8, shifts=dict.fromkeys(SHIFTS, 0.0))
    means = by_image["dsc"].groupby("split").mean()
    for name in SHIFTS:
        gap = variant if name == "l2" else baseline
        by_image = shifted(by_image, name, "train", gap - float(means["train"] - means["test"]))
    return by_image


@pytest.mark.parametrize(
    ("baseline", "variant", "smaller", "only_by_hurting"),
    [
        (0.10, 0.05, "supported", "supported"),
        (0.02, -0.08, "undecided", "undecided"),  # below 0, and further from it than before
        (-0.05, -0.01, "undecided", "contradicted"),  # towards 0 from below, by better training
        (-0.05, -0.10, "undecided", "undecided"),
        (0.05, 0.10, "contradicted", "contradicted"),  # training improved
    ],
)
def test_a_gap_is_smaller_where_it_fell_and_came_nearer_to_zero(
    dataset: Dataset, baseline, variant, smaller, only_by_hurting
):
    told = verdicts(with_gaps(dataset, baseline, variant), dataset)
    assert (told["C5a"], told["C5b"]) == (smaller, only_by_hurting)


def test_hurting_training_while_the_gap_grows_contradicts_that_it_closed(dataset: Dataset):
    grown = shifted(with_gaps(dataset, 0.1, 0.1), "l2", "train", -0.05)
    told = verdicts(shifted(grown, "l2", "test", -0.10), dataset)
    assert (told["C5a"], told["C5b"]) == ("contradicted", "contradicted")


def test_networks_that_all_answer_alike_decide_nothing(dataset: Dataset):
    constant = scores(dataset, seeds=8)
    constant[["dsc", "dice"]] = 0.5
    assert set(verdicts(constant, dataset).values()) == {"undecided", "not run"}


def test_borders_are_judged_on_unmixed_stains_as_they_are_shown(dataset: Dataset):
    green = np.zeros_like(dataset.test.images)
    contrast = np.linspace(0, 255, len(green)).astype(np.uint8)  # of the eosin, channel 1, within the masks
    green[..., 1] = dataset.test.masks * contrast[:, None, None]
    shown = Dataset("discs", dataset.train, replace(dataset.test, images=green), stain="unmixed")
    by_image = scores(dataset, seeds=8)
    place = {name: number for number, name in enumerate(dataset.test.names)}
    test = by_image.index.get_level_values("split") == "test"
    by_image.loc[test, "dsc"] += 0.1 * by_image.index[test].get_level_values("image").map(place)
    judged = one(quick(by_image, shown), "C2")
    assert judged.estimate.effect == pytest.approx(1, abs=0.1)


def test_one_layer_and_equal_epochs_follow_their_effects(dataset: Dataset):
    assert verdicts(full(dataset, two_dropouts=-0.02), dataset)["C4b"] == "supported"
    assert verdicts(full(dataset, two_dropouts=0.02), dataset)["C4b"] == "contradicted"
    assert verdicts(full(dataset), dataset)["C4b"] == "not supported"
    assert verdicts(full(dataset), dataset)["C4c"] == "supported"  # lower training score after equal epochs
    assert verdicts(full(dataset, equal=0.03), dataset)["C4c"] == "contradicted"


def test_few_divisions_decide_nothing(dataset: Dataset):
    evidence = replace(full(dataset), in_folds=in_folds(dataset, {"noise": 0.03, "two dropouts": -0.1}, divisions=4))
    judged = {each.claim.id: each for each in judge(evidence) if each.metric == "dsc"}
    assert {judged[claim].verdict for claim in ("C3a", "C4b", "C5c")} == {"undecided"}
    assert judged["C3a"].verdict_seeds == "supported"  # which eight pairs of runs decide
    assert explain(judged["C3a"], judged["C3a"]) == ""


@pytest.mark.parametrize(
    ("effects", "verdict", "best"),
    [
        ({"l2": 0.03}, "supported", None),
        ({"baseline": 0.03}, "contradicted", "0"),
        ({"l2": 0.03, "l2 0.005": 0.03}, "not supported", "0.005"),
        ({}, "not supported", None),
    ],
)
def test_the_best_coefficient_has_to_beat_every_other(dataset: Dataset, effects, verdict, best):
    judged = one(full(dataset, **effects), "C5c")
    assert judged.verdict == verdict
    effects_of = {measure.removeprefix("5e-5 minus "): estimate.effect for measure, estimate in judged.also.items()}
    assert list(effects_of) == ["0", "5e-06", "0.0005", "0.005"]
    assert judged.estimate.effect == min(effects_of.values())
    assert best is None or effects_of[best] == judged.estimate.effect


def test_the_best_coefficient_is_not_judged_before_every_other_was_tried(dataset: Dataset):
    evidence = full(dataset)
    for left_out in ("l2 0.005", "baseline"):
        assert (
            one(replace(evidence, in_folds=evidence.in_folds.drop(left_out, level="variant")), "C5c").verdict
            == "not run"
        )


def test_a_full_study_judges_other_patients_by_its_divisions(dataset: Dataset):
    judged = one(full(dataset), "C3a")
    assert judged.over_seeds.effect == pytest.approx(0.05, abs=0.003)  # on the given splits
    assert judged.estimate.effect == pytest.approx(0.03, abs=0.003)  # in folds
    assert judged.n_images == len(dataset.train) + len(dataset.test)
    assert f". 8 runs, 8 divisions of {judged.n_patients} patients. Primary.<" in entries(judge(full(dataset)))
    also = {each.claim.id: list(each.also) for each in judge(full(dataset)) if each.metric == "dsc"}
    assert (also["C3a"], also["C4a"]) == ([], ["after 60 epochs each"])
    assert also["C5b"] == ["test score, adjusted for 6", "gap, adjusted for 6"]


def test_intervals_over_divisions_are_widened_where_divisions_were_added(dataset: Dataset):
    plain, looked = full(dataset), replace(full(dataset), until_decided=True)
    for claim in ("C3a", "C4b"):
        before, after = one(plain, claim), one(looked, claim)
        assert after.estimate.se == pytest.approx(1.08 * 2**0.5 * before.estimate.se)  # after 8 of 16 divisions
        assert after.estimate.ci_low < before.estimate.ci_low
        assert after.over_seeds == before.over_seeds
    assert about_intervals(plain) == ""
    assert "8 in all. Intervals over them are widened by 53%," in about_intervals(looked)


def test_more_divisions_are_worth_their_time_where_they_alone_would_decide():
    rest = judgement(written(verdict="undecided", n_divisions=8, by_run=[0.02] * 8))
    divisions, patients = Needed(True, 14, None), Needed(True, None, 40)
    still_open = replace(rest, needed=divisions)
    assert may_be_decided([still_open]) == ["C3a"]
    decided, without = replace(still_open, verdict="supported"), replace(still_open, n_divisions=0)
    assert may_be_decided([rest, replace(rest, needed=patients), decided, without]) == []


def test_entries_of_few_runs_show_each_and_an_open_one_rules_out_what_it_can(dataset: Dataset):
    text = entries(judge(quick(scores(dataset, seeds=3), dataset)))
    entry = text.partition("#### C3a")[2].partition("####")[0].strip()
    assert "<caption>Test score, noise minus baseline. 3 runs.</caption>" in entry
    assert re.findall(r'"row">(.*?)</th>', entry) == ["DSC", "Dice"]
    assert re.findall(r"<td>([+−]\d\.\d{3})</td>", entry) == ["+0.051", "+0.051"]
    assert (entry.count('class="run"'), entry.count('class="range"')) == (6, 0)
    assert entry.endswith("</table>")
    by_image = scores(dataset, seeds=8, shifts=dict.fromkeys(SHIFTS, 0.0))
    p6 = [n for n, who in zip(dataset.test.names, dataset.test.patients, strict=True) if who == "p6"]
    by_image.loc[("noise", slice(None), "test", p6), ["dsc", "dice"]] += 0.2
    entry = entries(judge(quick(by_image, dataset))).partition("#### C3a")[2].partition("####")[0]
    assert re.search(
        r"Ruled out for other patients, at 95%: effects above [+−]\d\.\d{3} and below [+−]\d\.\d{3} in DSC; ", entry
    )


def test_the_table_of_effects_says_what_is_adjusted_for(dataset: Dataset):
    evidence = full(dataset)
    effects = effects_table(evidence, "noise")
    assert list(effects.index) == [f"{name}, {q}" for name in ("DSC", "Dice") for q in ("test", "train", "gap")]
    assert effects.attrs["caption"].startswith("Noise changes the mean test score by +0.029 in DSC and ")
    assert list(effects["adjusted"]) == ["for 6", "-", "for 6"] * 2
    assert effects.loc["DSC, test", "above 0"] == "8 of 8 pairs"


def test_dropout_is_compared_with_a_baseline_trained_as_long(dataset: Dataset):
    """All of its gain is longer training here, and none of it dropout."""
    none = scores(dataset, seeds=8, shifts=dict.fromkeys((*SHIFTS, "longer"), 0.0))
    for variant in ("longer", "dropout"):
        none = shifted(none, variant, "test", 0.04)
    evidence = quick(none, dataset)
    found = contrasts(evidence, "dsc")
    assert found["longer", "test"].over_patients.effect == pytest.approx(0.04, abs=0.005)
    assert abs(found["dropout", "test"].over_patients.effect) < 0.005
    assert abs(found["noise", "test"].over_patients.effect) < 0.005
    judged = one(evidence, "C4a")
    assert judged.verdict == judged.verdict_seeds == "not supported"
    by_study = judged.also["as the study compared them, the baseline trained for less"]
    assert by_study.effect == pytest.approx(-0.04, abs=0.005)
    assert judged.also["longer training alone, of the baseline"].effect == pytest.approx(-0.04, abs=0.005)
    assert effects_table(evidence, "dropout").columns[0] == "Dropout minus baseline, longer [95% interval]"
    said = share_of_epochs(evidence)
    assert said.startswith("Training the baseline as long as dropout changes its test score by +0.04")
    assert re.search(r" in DSC and \+0\.04\d \[\+0\.0\d\d, \+0\.0\d\d\] in Dice, in intervals over", said)


def test_intervals_of_fewer_than_six_runs_are_in_no_sentence_or_table(dataset: Dataset):
    evidence = quick(scores(dataset, seeds=3, shifts=SHIFTS | {"longer": 0.02}), dataset)
    for variant in ("noise", "dropout"):
        table = effects_table(evidence, variant)
        assert list(table.columns[1:]) == ["above 0"]
        assert not table.iloc[:, 0].str.contains("[", regex=False).any()
    assert "[" not in share_of_epochs(evidence) + entries(judge(evidence))


@pytest.mark.parametrize(("gap", "verdict"), [(0.2, "contradicted"), (-0.2, "supported"), (0.012, "undecided")])
def test_a_network_overfits_if_its_own_gap_is_above_the_margin(dataset: Dataset, gap, verdict):
    by_image = scores(dataset, seeds=8, shifts=dict.fromkeys(SHIFTS, 0.0))
    means = by_image["dsc"].groupby("split").mean()
    both = shifted(by_image, "baseline", "train", 0.2)  # what the baseline does decides nothing
    evidence = quick(shifted(both, "noise", "train", gap - float(means["train"] - means["test"])), dataset)
    judged = one(evidence, "C3d")
    assert judged.verdict_seeds == ("supported" if gap < 0.01 else "contradicted")
    assert judged.estimate.effect == pytest.approx(gap, abs=0.005)
    assert judged.verdict == verdict
    assert not judged.claim.primary


@pytest.mark.parametrize(("shift", "word"), [(0.03, "better"), (0.0, "no different"), (-0.05, "worse")])
def test_a_variant_that_no_claim_is_about_is_better_worse_or_no_different(shift, word, dataset: Dataset, monkeypatch):
    """One line in VARIANTS is enough; the study's are in the entries."""
    monkeypatch.setitem(VARIANTS, "mine", Variant("My idea", {"noise_std": 0.1}))
    shifts = SHIFTS | {"mine": shift, "longer": 0.02}
    table = further_variants(quick(scores(dataset, seeds=8, shifts=shifts), dataset))
    assert list(table.index) == ["My idea"]
    assert table.loc["My idea", "compared with"] == "baseline"
    for question in ("test DSC: other patients", "test DSC: other seeds", "test Dice: other seeds"):
        assert table.loc["My idea", question].startswith(f"{word} ")
    better = "My idea" if word == "better" else "none"
    assert table.attrs["caption"].startswith(f"Better in test DSC on these images: {better}. ")
    few = further_variants(quick(scores(dataset, seeds=3, shifts=shifts), dataset))
    assert re.fullmatch(r"[+−]?0\.0\d\d", few.loc["My idea", "test DSC: other seeds"])
    assert further_variants(quick(scores(dataset, seeds=3), dataset)).empty


def test_unknown_patients_are_said():
    split = draw_discs(8, seed=1)
    dataset = Dataset("discs", split, split)
    judged = one(quick(scores(dataset, seeds=8), dataset), "C3a")
    assert judged.n_patients is None
    assert about_intervals(quick(scores(dataset, seeds=8), dataset)).startswith("The patients are unknown: each image")
    assert "DSC, other images" in entries(judge(quick(scores(dataset, seeds=8), dataset)))


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


@pytest.mark.slow
def test_shuffling_the_variants_of_real_runs_makes_what_was_decided_vanish(discs: Dataset, tmp_path, monkeypatch):
    """Noise as strong as the signal spoils training beyond doubt; whether a run had it is then decided by chance."""
    monkeypatch.setattr(store, "STORE", tmp_path / "runs")
    monkeypatch.setitem(VARIANTS, "noise", Variant("Noise", {"noise_std": 1.0}))
    runs = trained_runs(discs, tuple(VARIANTS), seeds=8, epochs=20, learning_rate=0.01, workers=2)
    by_image = image_scores(runs, discs).sort_index()
    assert verdicts(by_image, discs)["C3a"] == "contradicted"
    rng, decided = np.random.default_rng(0), 0
    for _ in range(20):
        shuffled = by_image.copy()
        for run in np.flatnonzero(rng.random(8) < 0.5):
            for variant, other in (("noise", "baseline"), ("baseline", "noise")):
                shuffled.loc[(variant, run), :] = by_image.loc[(other, run)].to_numpy()
        decided += verdicts(shuffled, discs)["C3a"] in ("supported", "contradicted")
    assert decided <= 2


@pytest.mark.parametrize("known", [True, False], ids=["patients known", "patients unknown"])
def test_every_interval_follows_from_the_table_of_single_images(dataset: Dataset, known):
    data = dataset if known else replace(dataset, train=replace(dataset.train, patients=None))
    evidence = replace(full(dataset, l2=-0.02), **of_images(data))
    table = image_table(evidence)
    assert table.select_dtypes("number").shape[1] == len(table.columns) - 3  # place, variant and split are words
    assert check_recomputed(table, [claim_results(each) for each in judge(evidence)]) == 2 * 9
    table.loc[(table["variant"] == "noise") & (table["place"] == "folds") & (table["split"] == "test"), "dsc"] += 0.001
    with pytest.raises(AssertionError, match="effect"):
        check_recomputed(table, [claim_results(each) for each in judge(evidence)])
