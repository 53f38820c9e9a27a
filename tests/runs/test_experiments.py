from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from trained import lend_this_process, trained_runs

from lib._errors import UserError
from lib._files import ROOT
from lib.claims.evidence import evidence
from lib.data.dataset import Dataset, Fold
from lib.evaluation import METRICS, evaluate, predict
from lib.metrics import confusion
from lib.runs import finish, store, task, workers
from lib.runs.finish import TrainingError, finished, report_runs
from lib.runs.plan import (
    EXPERIMENTS,
    LADDER,
    SEARCHED,
    SETTINGS,
    VARIANTS,
    Planned,
    Request,
    Variant,
    variant_config,
)
from lib.runs.run import stored_run
from lib.runs.scores import best_threshold, extreme_images, fold_scores, further_scores, image_scores, mean_scores
from lib.shapes import surface_dice
from lib.training import train


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "STORE", tmp_path / "runs")
    monkeypatch.setattr(finish, "lend_workers", lend_this_process)
    return tmp_path / "runs"


def test_variants_are_those_of_the_study():
    configs = {variant: variant_config(variant, 0, 60) for variant in ("baseline", "noise", "dropout", "l2")}
    assert {v: (c.network, c.epochs, c.noise_std, c.l2) for v, c in configs.items()} == {
        "baseline": ("shallower_CNN_segment", 60, 0.0, 0.0),
        "noise": ("shallower_CNN_segment", 60, 0.03, 0.0),
        "dropout": ("dropout_CNN_segment", 120, 0.0, 0.0),
        "l2": ("shallower_CNN_segment", 60, 0.0, 5e-5),
    }
    assert {(c.learning_rate, c.batch_size, c.snapshot_every, c.threads, c.precision) for c in configs.values()} == {
        (1e-3, 8, 5, 1, "fp32")
    }


def test_runs_from_worker_processes_are_those_of_training_here(discs: Dataset, monkeypatch):
    monkeypatch.setattr(finish, "lend_workers", workers.lend_workers)
    runs = trained_runs(discs, ["baseline", "dropout"], seeds=2, epochs=2, workers=2)
    assert [run.config.seed for run in runs["dropout"]] == [0, 1]
    for run in (*runs["baseline"], *runs["dropout"]):
        training = train(run.config, discs.train.images, discs.train.masks)
        weights = training.network.state_dict()
        assert all(torch.equal(run.weights[name], value) for name, value in weights.items())
        assert len(run.seconds) == run.config.epochs
        for name, split in discs.splits.items():
            images, masks = torch.from_numpy(split.images), torch.from_numpy(split.masks)
            for metric, values in evaluate(training.network, images, masks).items():
                assert torch.equal(run.scores[run.config.epochs][name][metric], values)


def test_finished_runs_are_loaded_and_not_repeated(discs: Dataset, runs_folder, monkeypatch):
    first = trained_runs(discs, ["baseline"], seeds=2, epochs=1)
    written = {path: path.stat().st_mtime_ns for path in runs_folder.rglob("*")}
    monkeypatch.setattr(finish, "lend_workers", None)  # nothing may be trained
    again = trained_runs(discs, ["baseline"], seeds=2, epochs=1)
    assert {path: path.stat().st_mtime_ns for path in runs_folder.rglob("*")} == written
    assert [run.history for run in again["baseline"]] == [run.history for run in first["baseline"]]


def test_only_what_is_missing_is_trained(discs: Dataset, runs_folder):
    trained_runs(discs, ["baseline"], seeds=1, epochs=1)
    before = {path: path.stat().st_mtime_ns for path in runs_folder.rglob("run.pt")}
    trained_runs(discs, ["baseline", "noise"], seeds=2, epochs=1)
    after = {path: path.stat().st_mtime_ns for path in runs_folder.rglob("run.pt")}
    assert before.items() < after.items()
    assert len(after) - len(before) == 3


def test_changed_scores_are_computed_from_the_stored_weights_and_nothing_is_trained(discs: Dataset, monkeypatch):
    first = trained_runs(discs, ["baseline"], seeds=1, epochs=2)["baseline"][0]
    # As the code of another day would have left it: the same weights, scored in another way.
    path = store.folder_of(first.config, discs) / store.RUN
    state = store.from_bytes(store.read(path))
    state["scored_by"], state["scores"] = "another metric", {2: "other scores"}
    store.write(path.parent, store.to_bytes(state), finished=True)
    assert stored_run(Planned(first.config), discs) is None
    again = trained_runs(discs, ["baseline"], seeds=1, epochs=2)["baseline"][0]
    assert again.history == first.history  # the seconds of training are among it: they would differ


def test_a_new_variant_needs_one_line(discs: Dataset, monkeypatch):
    monkeypatch.setitem(VARIANTS, "both", Variant("Noise and L2", {"noise_std": 0.03, "l2": 5e-5}))
    scores = mean_scores(image_scores(trained_runs(discs, tuple(VARIANTS), seeds=1, epochs=1), discs))
    assert list(scores.index.unique("variant")) == list(VARIANTS)
    assert "both" in VARIANTS


def test_scores_are_per_image_and_their_means_the_end_of_the_learning_curve(discs: Dataset):
    runs = trained_runs(discs, ["baseline"], seeds=2, epochs=2)
    by_image = image_scores(runs, discs)
    assert by_image.xs(("baseline", 1, "test"), level=("variant", "seed", "split")).index.tolist() == list(
        discs.test.names
    )
    scores = mean_scores(by_image)
    for run in runs["baseline"]:
        for split, curves in (("train", run.history.train), ("test", run.history.test)):
            assert tuple(curves) == METRICS
            final = {metric: values[-1] for metric, values in curves.items()}
            assert scores.loc["baseline", run.config.seed, split].to_dict() == pytest.approx(final, abs=1e-12)


def test_best_and_worst_image_are_those_of_the_mean_over_runs(discs: Dataset):
    by_image = image_scores(trained_runs(discs, ["baseline"], seeds=2, epochs=1), discs)
    mean = {
        name: (by_image.dsc["baseline", 0, "test", name] + by_image.dsc["baseline", 1, "test", name]) / 2
        for name in discs.test.names
    }
    found = extreme_images(by_image)
    assert found["best"].dsc == pytest.approx(max(mean.values()))
    assert found["worst"].dsc == pytest.approx(min(mean.values()))
    assert mean[found["worst"].name] == min(mean.values())


def test_the_threshold_is_the_one_with_the_highest_mean_dice():
    true = torch.tensor([[[True, True, False, False]]])
    probabilities = torch.tensor([[[0.9, 0.33, 0.28, 0.1]]])
    assert best_threshold(probabilities, true) == pytest.approx(0.3)


def test_further_scores_are_those_of_each_test_image_and_choose_the_threshold_on_training_images(discs: Dataset):
    runs = trained_runs(discs, ["baseline"], seeds=2, epochs=2, learning_rate=1e-2)
    found = further_scores(runs, discs)
    assert found.index.equals(image_scores(runs, discs).xs("test", level="split", drop_level=False).index)
    run, name = runs["baseline"][1], discs.test.names[3]
    _, mask = discs.test.pair(name)
    probability, network = run.probabilities(discs.test, name), run.network()
    on_train = predict(network, torch.from_numpy(discs.train.images))
    chosen = best_threshold(on_train, torch.from_numpy(discs.train.masks))
    assert chosen != 0.5  # or the last of these would not tell whether it is used
    dice = confusion(torch.from_numpy(probability > chosen)[None], torch.from_numpy(mask)[None]).dice.item()
    expected = [surface_dice(probability > 0.5, mask), (probability > 0.5).mean(), dice]
    assert found.loc[("baseline", 1, "test", name)].tolist() == pytest.approx(expected)


def test_probabilities_are_of_the_named_image(discs: Dataset):
    run = trained_runs(discs, ["baseline"], seeds=1, epochs=2)["baseline"][0]
    for index in (0, 3):
        predicted = torch.from_numpy(run.probabilities(discs.test, discs.test.names[index]))[None] > 0.5
        agreement = (predicted == torch.from_numpy(discs.test.masks[index : index + 1])).double().mean().item()
        assert agreement == pytest.approx(run.scores[2]["test"]["dsc"][index].item(), abs=1e-6)


def test_a_run_that_vanished_from_the_store_is_not_left_out_in_silence(discs: Dataset, monkeypatch):
    monkeypatch.setattr("lib.runs.finish.finish_runs", lambda *_: None)
    with pytest.raises(TrainingError, match=r"seed=0.*gone from the store"):
        trained_runs(discs, ["baseline"], seeds=1, epochs=1)


@pytest.fixture(scope="module")
def plans(discs: Dataset):
    return Request(seeds=20, epochs=60, full=True, possible=True).plans(discs)


def test_a_full_study_plans_the_runs_that_the_protocol_asks_for(plans):
    counts = {name: {v: len(of_v) for v, of_v in of_name.items()} for name, of_name in plans.items()}
    assert list(counts) == list(EXPERIMENTS)
    assert counts["variants"] == dict.fromkeys(VARIANTS, 20)
    assert (counts["deeper"], counts["possible"]) == ({"deeper": 20}, {"possible": 5})
    assert counts["new patients"] == dict.fromkeys((*VARIANTS, *SETTINGS), 8 * 5)
    assert set(counts["searches"].values()) == {2 * 5}
    assert counts["ladder"] == dict.fromkeys(LADDER, 5)
    one, two = (plans["new patients"][name][0].config for name in ("dropout", "two dropouts"))
    assert (one.network, one.dropout, one.epochs) == ("dropout_CNN_segment", None, 120)
    assert (two.network, two.dropout, two.epochs) == ("two_dropouts_CNN_segment", None, 120)
    for searched in SEARCHED.values():
        assert set(searched.values()) <= {*counts["new patients"], *counts["searches"]}


def test_the_docs_tell_how_much_a_full_study_trains(plans):
    """In epochs of the study's 85 training images; a fold of its 145 has 116 of them to train on."""
    images = {"variants": 85, "deeper": 85, "new patients": 116, "searches": 116}
    longest: dict[tuple, int] = {}
    for name in images:  # what differs in epochs alone is one run, of whatever experiment
        for planned in chain(*plans[name].values()):
            key = name, planned.config, planned.fold
            longest[key] = planned.config.epochs
    sums = {name: sum(e for key, e in longest.items() if key[0] == name) * n / 85 for name, n in images.items()}
    told = " + ".join(f"{round(epochs, -2):,.0f}" for epochs in sums.values())
    assert f"{told} = {sum(round(e, -2) for e in sums.values()):,.0f}" in (ROOT / "docs" / "evidence.md").read_text()


def test_every_image_is_held_out_once_in_a_division_by_a_fold_with_a_seed_of_its_own(plans, discs: Dataset):
    noise = plans["new patients"]["noise"]
    assert [p.config.seed for p in noise] == list(range(40))
    assert [(p.fold.repeat, p.fold.index) for p in noise] == [(i // 5, i % 5) for i in range(40)]
    for repeat in (0, 7):
        held_out = np.concatenate([p.fold.divide(discs)["test"] for p in noise if p.fold.repeat == repeat])
        assert sorted(held_out) == list(range(len(discs.train) + len(discs.test)))
    assert noise[0].fold.divide(discs)["test"].tolist() != noise[5].fold.divide(discs)["test"].tolist()
    assert [(p.config.seed, p.fold) for p in plans["new patients"]["l2"]] == [(p.config.seed, p.fold) for p in noise]


def test_a_quick_report_plans_three_runs_and_one_network_of_today(discs: Dataset):
    quick = Request(seeds=3, epochs=60, possible=True).plans(discs)
    assert {name: {len(of_v) for of_v in of_name.values()} for name, of_name in quick.items()} == {
        "variants": {3},
        "possible": {1},
    }
    assert list(Request(seeds=3, epochs=60).plans(discs)) == ["variants"]
    assert not {"new patients", "searches", "ladder"} & set(
        Request(seeds=3, epochs=60, full=True, repeats=0, possible=True).plans(discs)
    )


@pytest.mark.parametrize(("epochs", "every"), [(60, 5), (6, 3), (7, 1), (1, 1)])
def test_the_baseline_trains_on_and_is_the_longer_one_as_well(epochs, every, discs: Dataset):
    """One run serves both, with a snapshot where the shorter one ends; other variants are as they were."""
    every_plan = Request(seeds=2, epochs=epochs, full=True).plans(discs)
    plans = every_plan["variants"]
    for baseline, longer in zip(plans["baseline"], plans["longer"], strict=True):
        assert baseline == Planned(longer.config, None, epochs)
        assert (longer.config.epochs, longer.config.snapshot_every, longer.until) == (2 * epochs, every, None)
    every_run = [planned for of_variant in plans.values() for planned in of_variant]
    assert {planned.config.snapshot_every for planned in every_run} == {every}
    in_folds = every_plan["new patients"]
    for baseline, longer in zip(in_folds["baseline"], in_folds["longer"], strict=True):
        assert baseline == longer._replace(until=epochs)
        assert longer.config.snapshot_every == epochs


def test_a_run_cut_at_an_epoch_is_the_run_of_so_many_epochs(discs: Dataset):
    both = trained_runs(discs, ["baseline", "longer"], seeds=1, epochs=2)
    cut, longer = both["baseline"][0], both["longer"][0]
    alone = trained_runs(discs, ["baseline"], seeds=1, epochs=2)["baseline"][0]
    assert (cut.config.epochs, len(cut.seconds), len(longer.seconds)) == (2, 2, 4)
    assert all(torch.equal(cut.weights[name], weights) for name, weights in alone.weights.items())
    assert cut.gradient_norms == alone.gradient_norms
    assert cut.history.epochs[-1] == 2
    for split, scores in alone.scores[2].items():
        assert all(torch.equal(cut.scores[2][split][metric], values) for metric, values in scores.items())
    assert not torch.equal(longer.weights["conv1.weight"], cut.weights["conv1.weight"])


def test_runs_in_folds_are_trained_on_the_other_folds_and_scored_on_their_own(discs: Dataset):
    planned = Request(seeds=1, epochs=2, full=True, repeats=1).plans(discs)["new patients"]["noise"][:2]
    runs = {"baseline": list(finished(discs, planned, workers=1).values())}
    for run in runs["baseline"]:
        data = run.fold.of_dataset(discs)
        training = train(run.config, data.train.images, data.train.masks)
        assert all(torch.equal(run.weights[name], value) for name, value in training.network.state_dict().items())
        images, masks = torch.from_numpy(data.test.images), torch.from_numpy(data.test.masks)
        expected = evaluate(training.network, images, masks)["dice"]
        found = fold_scores(runs, discs)["dice"]["baseline", 0, "test"][list(data.test.names)]
        assert found.to_numpy() == pytest.approx(expected.numpy())
    first, second = (run.fold.divide(discs)["train"].tolist() for run in runs["baseline"])
    name = run.fold.names(discs)[next(image for image in first if image in second)]
    seen = [r.scores[2]["train"]["dice"][r.fold.of_dataset(discs).train.names.index(name)] for r in runs["baseline"]]
    assert fold_scores(runs, discs)["dice"]["baseline", 0, "train", name] == pytest.approx(np.mean(seen))


def test_evidence_of_a_quick_report_has_scores_after_equal_epochs(discs: Dataset):
    for epochs, common in ((1, 1), (5, 5), (7, 7)):
        found = evidence(report_runs(discs, Request(seeds=1, epochs=epochs)), discs)
        assert found.at_epoch == common
        assert set(found.equal_epochs.index.unique("variant")) == {"baseline", "dropout"}
        assert found.in_folds is None
        assert list(found.by_image.index.unique("variant")) == list(VARIANTS)


def test_a_full_study_of_one_patient_is_refused_before_anything_is_trained(discs: Dataset, runs_folder):
    one = replace(discs, train=replace(discs.train, patients=("a",) * len(discs.train)))
    with pytest.raises(UserError, match=r"expected training images of two patients or more .*, found one"):
        report_runs(one, Request(seeds=1, epochs=1, full=True))
    assert not runs_folder.exists() or not any(runs_folder.iterdir())


def test_once_a_command_has_trained_a_missing_run_is_an_error(discs: Dataset, runs_folder, monkeypatch):
    request = Request(seeds=1, epochs=1)
    report_runs(discs, request)
    monkeypatch.setenv(finish.ONLY_STORED, "yes")
    assert set(report_runs(discs, request)["variants"]) == set(VARIANTS)
    next(runs_folder.rglob("run.pt")).unlink()
    with pytest.raises(TrainingError, match=r"seed=0.*expected in the store, .*found nothing usable"):
        report_runs(discs, request)


def test_a_loss_that_is_no_number_ends_a_run_early_and_is_named(discs: Dataset, runs_folder):
    with pytest.raises(TrainingError, match=r"1 of 1 runs, .*\n.*seed=0.*: epoch \d+: expected a finite loss.*1e\+30$"):
        trained_runs(discs, ["baseline"], seeds=1, epochs=50, learning_rate=1e30)
    assert list(runs_folder.rglob("run.pt")) == []


def test_a_fold_is_divided_once_for_the_tasks_of_its_run(discs: Dataset, monkeypatch):
    monkeypatch.setattr(task, "_divided", None)
    divided, of_dataset = [], Fold.of_dataset
    monkeypatch.setattr(Fold, "of_dataset", lambda fold, data: divided.append(fold) or of_dataset(fold, data))
    planned = Planned(variant_config("baseline", 0, 2), Fold("train", 1))
    code, state, finished_now = (store.training_code(planned.config), store.scoring_code()), None, False
    while not finished_now:
        state, _, finished_now = task.continue_run(discs, planned, state, code, seconds=0)
    assert divided == [Fold("train", 1)]
