import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch

from lib import experiments
from lib.data import Dataset
from lib.experiments import (
    VARIANTS,
    TrainingError,
    Variant,
    image_scores,
    mean_scores,
    store_path,
    trained_runs,
    variant_config,
)
from lib.training import train


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(experiments, "STORE", tmp_path / "runs")
    return tmp_path / "runs"


def test_variants_are_those_of_the_study():
    configs = {variant: variant_config(variant, 0, 60, 1e-3) for variant in ("baseline", "noise", "dropout", "l2")}
    assert {v: (c.network, c.epochs, c.noise_std, c.l2) for v, c in configs.items()} == {
        "baseline": ("shallower_CNN_segment", 60, 0.0, 0.0),
        "noise": ("shallower_CNN_segment", 60, 0.03, 0.0),
        "dropout": ("dropout_CNN_segment", 120, 0.0, 0.0),
        "l2": ("shallower_CNN_segment", 60, 0.0, 5e-5),
    }
    assert {(c.learning_rate, c.batch_size, c.evaluate_every, c.threads) for c in configs.values()} == {(1e-3, 8, 5, 1)}


def test_runs_from_worker_processes_are_those_of_training_here(discs: Dataset):
    runs = trained_runs(discs, ["baseline", "dropout"], seeds=2, epochs=2, workers=2)
    assert [run.config.seed for run in runs["dropout"]] == [0, 1]
    for run in (*runs["baseline"], *runs["dropout"]):
        network, history = train(run.config, discs.train, discs.test)
        assert all(torch.equal(run.weights[name], value) for name, value in network.state_dict().items())
        assert (run.history.train, run.history.test) == (history.train, history.test)


def test_finished_runs_are_loaded_and_not_repeated(discs: Dataset, store: Path, monkeypatch):
    first = trained_runs(discs, ["baseline"], seeds=2, epochs=1)
    written = {path: path.stat().st_mtime_ns for path in store.iterdir()}
    monkeypatch.setattr(experiments, "ProcessPoolExecutor", None)  # nothing may be trained
    again = trained_runs(discs, ["baseline"], seeds=2, epochs=1)
    assert {path: path.stat().st_mtime_ns for path in store.iterdir()} == written
    assert [run.history for run in again["baseline"]] == [run.history for run in first["baseline"]]


@pytest.mark.parametrize("damage", [b"", b"not a run", None], ids=["empty", "text", "truncated"])
def test_a_damaged_run_is_said_and_trained_again(damage, discs: Dataset, store: Path, capsys):
    first = trained_runs(discs, ["baseline"], seeds=1, epochs=1)["baseline"][0]
    (path,) = store.iterdir()
    path.write_bytes(path.read_bytes()[:20_000] if damage is None else damage)
    again = trained_runs(discs, ["baseline"], seeds=1, epochs=1)["baseline"][0]
    assert f"{path.name}: a damaged run, trained again" in capsys.readouterr().err
    assert torch.equal(again.weights["conv2.weight"], first.weights["conv2.weight"])


def test_only_what_is_missing_is_trained(discs: Dataset, store: Path):
    trained_runs(discs, ["baseline"], seeds=1, epochs=1)
    before = set(store.iterdir())
    trained_runs(discs, ["baseline", "noise"], seeds=2, epochs=1)
    assert before < set(store.iterdir())
    assert len(set(store.iterdir()) - before) == 3


def test_a_run_is_known_by_its_configuration_data_code_and_torch(discs: Dataset, monkeypatch):
    config = variant_config("baseline", 0, 60, 1e-3)
    others = [
        store_path(variant_config("baseline", 1, 60, 1e-3), discs),
        store_path(variant_config("l2", 0, 60, 1e-3), discs),
        store_path(config, Dataset("discs", discs.test, discs.train)),
    ]
    same = store_path(config, Dataset("another name", discs.train, discs.test))
    assert same == store_path(config, discs)
    monkeypatch.setattr(experiments, "_code_hash", lambda: "a changed loss")
    others.append(store_path(config, discs))
    monkeypatch.setattr(torch, "__version__", "2.99")
    others.append(store_path(config, discs))
    assert len({same, *others}) == 6


def test_a_new_variant_needs_one_line(discs: Dataset, monkeypatch):
    monkeypatch.setitem(VARIANTS, "both", Variant("Noise and L2", {"noise_std": 0.03, "l2": 5e-5}))
    scores = mean_scores(image_scores(trained_runs(discs, tuple(VARIANTS), seeds=1, epochs=1), discs))
    assert list(scores.index.unique("variant")) == list(VARIANTS)
    assert "both" in VARIANTS


def test_scores_are_per_image_and_those_of_the_stored_history(discs: Dataset):
    runs = trained_runs(discs, ["baseline"], seeds=2, epochs=2)
    by_image = image_scores(runs, discs)
    assert by_image.xs(("baseline", 1, "test"), level=("variant", "seed", "split")).index.tolist() == list(
        discs.test.names
    )
    scores = mean_scores(by_image)
    for run in runs["baseline"]:
        for split, curves in (("train", run.history.train), ("test", run.history.test)):
            final = {metric: values[-1] for metric, values in curves.items()}
            assert scores.loc["baseline", run.config.seed, split].to_dict() == pytest.approx(final, abs=1e-6)


def test_a_run_that_raises_is_reported_with_its_configuration_and_the_others_are_kept(
    discs: Dataset, store: Path, monkeypatch
):
    monkeypatch.setitem(VARIANTS, "bad", Variant("Bad", {"batch_size": 2**70}))  # torch cannot split by that
    with pytest.raises(TrainingError, match=r"batch_size=1180591620717411303424.*: \w+: "):
        trained_runs(discs, ["bad", "baseline"], seeds=1, epochs=1)
    assert [path.suffix for path in store.iterdir()] == [".pt"]


def test_a_killed_training_process_is_reported_and_leaves_no_half_run(discs: Dataset, store: Path):
    def kill_a_worker() -> None:
        while True:
            for child in psutil.Process().children():
                if "spawn_main" in " ".join(child.cmdline()):
                    time.sleep(2)  # into its import or its training
                    os.kill(child.pid, signal.SIGKILL)
                    return
            time.sleep(0.05)

    killer = threading.Thread(target=kill_a_worker, daemon=True)
    killer.start()
    with pytest.raises(TrainingError, match="a training process was killed; finished runs are kept"):
        trained_runs(discs, ["baseline"], seeds=2, epochs=3000)
    assert list(store.glob("*.pt")) == []
    assert [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())] == []


def test_the_callers_environment_is_as_it_was(discs: Dataset, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)
    trained_runs(discs, ["baseline"], seeds=1, epochs=1)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MALLOC_TOP_PAD_" not in os.environ
