"""Committed results of full studies, and `make verify`, with real runs of the discs."""

import json
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import pytest
from records import check_recomputed, judgement
from trained import lend_this_process, trained_runs

from lib._files import ROOT
from lib.claims import reference
from lib.claims.evidence import SCORES
from lib.claims.intervals import FEWEST_SEEDS, Needed, Variance, to_decide, to_decide_correlation
from lib.claims.reference import compare, final_scores, reference_for
from lib.claims.verdicts import CLAIMS, CorrelationJudgement, NotRun
from lib.claims.words import _would_decide, explain, number, with_interval
from lib.data.dataset import Dataset
from lib.data.reading import load_dataset
from lib.evaluation import METRICS
from lib.report.parameters import STUDY_SEEDS
from lib.report.results import variant_results
from lib.report.verify import main
from lib.runs import finish, store
from lib.runs.plan import VARIANTS, Planned
from lib.runs.run import stored_run
from lib.training import TrainingConfig

SEEDS = range(4)


def results(values: dict[int, float]) -> dict:
    """The content of a results.json with one variant whose scores all are one number a seed."""
    metrics = {seed: dict.fromkeys(METRICS, value) for seed, value in values.items()}
    runs = [{"seed": seed, "train": of_seed, "test": of_seed} for seed, of_seed in metrics.items()]
    return {"variants": {"baseline": {"runs": runs}}}


def test_final_scores_have_a_row_a_number_and_a_column_a_seed():
    table = final_scores(results({0: 0.5, 1: 0.7}))
    assert table.shape == (2 * 4, 2)
    assert table.loc[("baseline", "test", "dice")].tolist() == [0.5, 0.7]


def test_on_the_same_machine_a_number_is_reproduced_to_the_last_bit_or_not():
    theirs = final_scores(results({0: 0.5, 1: 0.7, 2: 0.6}))
    same, other = (final_scores(results({0: 0.5, 1: value})) for value in (0.7, 0.7 + 2**-52))
    assert compare(same, theirs, bitwise=True)["reproduced"].all()
    assert compare(other, theirs, bitwise=True)["reproduced"].tolist() == [True, False]


def elsewhere(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Scores as another machine would find them, where runs of one seed differ by about 0.002."""
    return table + np.random.default_rng(seed).normal(0, 0.002, table.shape)


def test_elsewhere_every_run_has_to_lie_near_the_references_run_of_its_seed(warwick: dict):
    theirs = final_scores(warwick)
    table = compare(elsewhere(theirs, 0)[[0, 1]], theirs, bitwise=False)
    assert list(table.index) == [(variant, seed) for variant in warwick["variants"] for seed in (0, 1)]
    assert table["reproduced"].all()
    exchanged = theirs.rename(columns={0: 1, 1: 0})[[0, 1]]  # the means are the same, the seeds are not
    assert not compare(exchanged, theirs, bitwise=False)["reproduced"].all()


def at_epoch(content: dict, epoch: int) -> pd.DataFrame:
    """The scores of the baseline as they were after an epoch, in place of those at its end."""
    runs = []
    for run in content["variants"]["baseline"]["runs"]:
        at = run["history"]["epochs"].index(epoch)
        scores = {s: {m: values[at] for m, values in run["history"][s].items()} for s in ("train", "test")}
        runs.append({"seed": run["seed"], **scores})
    return final_scores({"variants": {"baseline": {"runs": runs}}})


def test_variants_that_were_never_applied_or_trained_for_less_are_refused_with_one_seed(warwick: dict):
    theirs = final_scores(warwick)
    refused = {"not applied": 0, "40 epochs": 0}
    for seed in theirs.columns:
        never = elsewhere(theirs, seed)[[seed]]
        for variant in ("noise", "l2"):
            never.loc[variant] = never.loc["baseline"].to_numpy()
        shorter = elsewhere(theirs, seed)[[seed]]
        shorter.loc["baseline"] = at_epoch(warwick, 40)[[seed]].to_numpy()
        for fault, ours in (("not applied", never), ("40 epochs", shorter)):
            refused[fault] += not compare(ours, theirs, bitwise=False)["reproduced"].all()
    assert all(count >= 19 for count in refused.values()), refused


@pytest.mark.slow
def test_another_loss_is_refused_with_one_seed(discs: Dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "STORE", tmp_path / "runs")
    monkeypatch.setattr(finish, "lend_workers", lend_this_process)

    def scores(folder: str) -> pd.DataFrame:
        monkeypatch.setattr(store, "STORE", tmp_path / folder)
        runs = trained_runs(discs, ["baseline"], seeds=20, epochs=10)  # before the discs are solved
        return final_scores({"variants": variant_results(runs)})

    theirs = scores("as it is")
    monkeypatch.setattr(TrainingConfig, "loss", lambda _, found, masks: ((found - masks) ** 2).mean())
    ours = scores("another loss")
    tables = [compare(elsewhere(ours, seed)[[seed]], theirs, bitwise=False) for seed in theirs.columns]
    assert sum(not table["reproduced"].all() for table in tables) >= 19


@pytest.fixture
def made(made_once: Path, tmp_path: Path, monkeypatch) -> Path:
    """The report of the discs in the place of a reference, and a store that is empty."""
    monkeypatch.setattr(store, "STORE", tmp_path / "runs")
    monkeypatch.setattr(reference, "REFERENCES", tmp_path / "reference")
    (tmp_path / "reference" / "discs").mkdir(parents=True)
    copy = tmp_path / "reference" / "discs" / "results.json"
    copy.write_bytes((made_once / "results.json").read_bytes())
    return copy


def test_verify_trains_again_and_finds_the_same_bits(made: Path, folder: Path, capsys):
    assert main([f"DATASET={folder}", "SEEDS=1"]) == 0
    told = capsys.readouterr().out
    assert "Tolerance: none" in told
    assert "5 of 5 runs reproduced." in told


def test_verify_ends_with_1_and_names_what_is_not_reproduced(made: Path, folder: Path, monkeypatch, capsys):
    monkeypatch.setattr(finish, "lend_workers", lend_this_process)
    changed = json.loads(made.read_text(encoding="utf-8"))
    changed["variants"]["noise"]["runs"][0]["test"]["dice"] += 1e-9
    made.write_text(json.dumps(changed), encoding="utf-8")
    assert main([f"DATASET={folder}", "SEEDS=1"]) == 1
    told = capsys.readouterr().out
    assert told.count("NOT REPRODUCED") == 1
    assert "4 of 5 runs reproduced." in told


def test_verify_trains_although_the_runs_are_stored(made: Path, folder: Path, monkeypatch, capsys):
    monkeypatch.setattr(finish, "lend_workers", lend_this_process)
    dataset = load_dataset(str(folder))
    stored = trained_runs(dataset, ("baseline",), seeds=1, epochs=1, learning_rate=0.01)["baseline"][0]
    asked: list[Path] = []
    trained = finish.finish_runs

    def finish_runs(planned, *others):
        asked.extend(planned)
        trained(planned, *others)

    monkeypatch.setattr(finish, "finish_runs", finish_runs)
    assert main([f"DATASET={folder}", "SEEDS=1"]) == 0
    assert len(asked) == len(VARIANTS) - 1  # baseline and longer baseline are one run
    assert not any(path.exists() for path in asked)
    assert stored_run(Planned(stored.config), dataset) is not None


def test_verify_refuses_data_without_a_reference(made: Path, capsys):
    assert main(["SEEDS=1"]) == 2
    message = "error: DATASET=synthetic: expected the data of a reference (discs), found other data\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("SEEDS=30", "SEEDS=30: expected at most the reference's 1, found more"),
        ("EPOCHS=5", "EPOCHS=5: expected DATASET, SEEDS, WORKERS, STAIN, SIZE, TEST_FRACTION only"),
    ],
)
def test_verify_refuses_what_no_reference_can_be_compared_with(argument, message, made: Path, folder: Path, capsys):
    assert main([f"DATASET={folder}", argument]) == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_report_shows_the_reference_of_its_data_or_else_that_of_the_studys_images(
    made: Path, discs: Dataset, monkeypatch
):
    assert (reference_for(discs)["name"], reference_for(discs)["same_data"]) == ("discs", True)
    other = Dataset("other", discs.test, discs.train)
    assert reference_for(other) is None
    monkeypatch.setattr(reference, "FALLBACK", "discs")
    told = reference_for(other)
    assert (told["name"], told["seeds"], told["same_data"]) == ("discs", 1, False)
    changed = json.loads(made.read_text(encoding="utf-8"))
    changed["parameters"]["repeats"] = 6
    made.write_text(json.dumps(changed), encoding="utf-8")
    assert reference_for(other)["divisions"] == 6
    assert told["verdicts"]["C3a"] == {"dsc": "undecided", "dice": "undecided"}


COMMITTED = sorted((ROOT / "reports" / "reference").glob("*/results.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_references_are_full_studies_that_tell_no_folder(path: Path):
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["parameters"]["study"]
    assert FEWEST_SEEDS <= content["parameters"]["seeds"] <= STUDY_SEEDS
    assert not content["provenance"]["git_dirty"]
    assert "deeper" in content["side"]
    verdicts = pd.DataFrame(content["claims"])
    judged = verdicts[verdicts["verdict"] != "not run"]
    assert set(judged["verdict"]) <= {"supported", "contradicted", "not supported", "undecided"}
    assert judged["ci_low"].notna().all()
    divided = content["side"].get("new patients", {})
    assert set(verdicts["id"]) == {claim.id for claim in CLAIMS}
    settings = {"C4b": "two dropouts", "C5c": "l2 0.005"}
    assert set(verdicts["id"]) - set(judged["id"]) == {claim for claim, of in settings.items() if of not in divided}
    assert (path.parent / "scores.csv.xz").is_file()


@pytest.mark.parametrize("path", sorted(ROOT.glob("reports/reference/*/scores.csv.xz")), ids=lambda p: p.parent.name)
def test_every_interval_of_a_committed_reference_follows_from_its_single_images(path: Path):
    claims = json.loads((path.parent / "results.json").read_text(encoding="utf-8"))["claims"]
    assert check_recomputed(pd.read_csv(path), claims) == 2 * 9


def test_the_reference_of_the_embedded_set_is_of_this_embedded_set():
    assert reference.find_reference(load_dataset("synthetic").sha256)[0] == "synthetic"


def verdict_rows(results: dict) -> list[str]:
    """The claims of a reference as rows of the table in docs/verdicts.md."""
    pairs: dict[str, list[dict]] = {}
    for claim in results["claims"]:
        pairs.setdefault(claim["id"], []).append(claim)

    def cells(claim: dict) -> list[str]:
        judged = judgement(claim)
        if isinstance(judged, NotRun):
            return [judged.verdict, judged.verdict]
        questions = (judged.verdict_seeds, judged.over_seeds), (judged.verdict, judged.estimate)
        return [f"**{verdict}** {with_interval(estimate)}" if verdict else "-" for verdict, estimate in questions]

    return [
        f"| {' | '.join([name, pair[0]['statement'], *cells(pair[0]), *cells(pair[1])])} |"
        for name, pair in pairs.items()
    ]


def judged_otherwise(results: dict, than: dict) -> str:
    """The sentence of docs/verdicts.md on verdicts over seeds that are not those of another reference."""
    seeds = {(claim["id"], claim["metric"]): claim["verdict_seeds"] for claim in than["claims"]}
    changed = [
        f"{claim['id']} in {SCORES[claim['metric']]} ({claim['verdict_seeds']}, in colours {before})"
        for claim in results["claims"]
        if claim["verdict_seeds"] != (before := seeds[claim["id"], claim["metric"]])
        and {"undecided", "not run", None}.isdisjoint((before, claim["verdict_seeds"]))
    ]
    return f"Settled for both inputs, but differently: {'; '.join(changed)}."


def dropouts_merit(results: dict) -> str:
    """The sentence of docs/verdicts.md on what the study took for dropout's merit."""
    dsc, dice = (judgement(claim) for claim in results["claims"] if claim["id"] == "C4d")
    before, longer = (with_interval(dsc.also[name]) for name in dsc.also)
    return (
        f"On other patients, training the baseline as long as dropout changes its test DSC by {longer}; compared with "
        f"that, dropout changes it by {with_interval(dsc.estimate)}, and Dice by {with_interval(dice.estimate)}. As "
        f"the study compared them, the change in DSC is {before}."
    )


def coefficients(results: dict) -> str:
    """The sentence of docs/verdicts.md on the coefficients of L2."""
    (dsc,) = (judgement(claim) for claim in results["claims"] if (claim["id"], claim["metric"]) == ("C5c", "dsc"))
    others = {name.removeprefix("5e-5 minus "): estimate for name, estimate in dsc.also.items()}
    listed = "; ".join(f"by {with_interval(estimate)} compared with {name}" for name, estimate in others.items())
    (worse,) = (name for name, estimate in others.items() if estimate.ci_low > 0)
    assert all(estimate.ci_high > 0 for estimate in others.values())
    return (
        f"Of the coefficients of L2, only {worse} is shown to be worse than 5e-5, and none to be better. On other "
        f"patients, 5e-5 changes the DSC {listed}."
    )


def what_is_open(results: dict) -> tuple[list[str], list[str]]:
    """The lines of docs/verdicts.md on what would decide an open verdict: for other patients, and on these images."""
    patients: dict[str, dict[str, Needed | None]] = {}
    seeds: dict[str, dict[str, Needed | None]] = {}
    for claim in results["claims"]:
        judged, score = judgement(claim), SCORES[claim["metric"]]
        if judged.verdict == "undecided":
            needed = judged.needed  # of correlations the committed file is older than this
            if isinstance(judged, CorrelationJudgement):
                needed = to_decide_correlation(judged.estimate, judged.n_runs, claim["n_patients"])
            patients.setdefault(claim["id"], {})[score] = needed
        if not isinstance(judged, NotRun) and judged.verdict_seeds == "undecided":
            of_seeds = Variance.of_seeds(judged.over_seeds.se, claim["n_seeds"])
            needed = to_decide(judged.over_seeds, of_seeds, judged.claim.bound, judged.claim.claimed)
            seeds.setdefault(claim["id"], {})[score] = needed
    return (
        [f"- {name}. {text}" for name, of in patients.items() for text in _would_decide(of, "divisions", "patients")],
        [f"- {name}. {text}" for name, of in seeds.items() for text in _would_decide(of, "runs")],
    )


@pytest.fixture
def warwick() -> dict:
    return json.loads((ROOT / "reports" / "reference" / "warwick" / "results.json").read_text())


def test_the_readme_says_what_the_committed_results_say(warwick: dict):
    readme = " ".join((ROOT / "README.md").read_text().split())
    runs = warwick["variants"]["baseline"]["runs"]
    dice = sum(run["test"]["dice"] for run in runs) / len(runs)
    assert f"from {len(runs)} runs of each network" in readme
    assert f"its network ({dice:.3f}) is no better than calling every pixel gland " in readme
    constant = warwick["dataset"]["trivial"]["all gland"]["dice"]
    assert f"every pixel gland ({constant:.3f})" in readme
    assert dice < constant
    numbers = ("none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    for question, key in (("on these images with other seeds", "verdict_seeds"), ("for other patients", "verdict")):
        in_dsc = Counter(claim[key] for claim in warwick["claims"] if claim["metric"] == "dsc")
        words = ("supported", "not supported", "contradicted", "undecided")
        counts = ", ".join(f"{numbers[in_dsc[word]]} {word}" for word in words)
        assert f"{question}: {counts}" in readme
    judged = {claim["id"]: judgement(claim) for claim in warwick["claims"] if claim["metric"] == "dsc"}
    assert (judged["C3a"].verdict_seeds, judged["C5d"].verdict_seeds) == ("not supported", "supported")
    assert abs(judged["C5d"].over_seeds.ci_low) < 0.01  # nor does it lose as much
    assert judged["C4d"].also["longer training alone, of the baseline"].ci_low > 0 > judged["C4d"].over_seeds.effect
    assert "noise and L2 change less than 0.01; longer training gains, and a further gain by dropout is not" in readme
    helps = {claim["id"]: judgement(claim) for claim in warwick["claims"] if claim["metric"] == "dice"}
    assert helps["C3a"].verdict_seeds == helps["C4d"].verdict_seeds == "supported"
    gains = [number(helps[name].over_seeds.effect) for name in ("C3a", "C4d")]
    assert f"By Dice, noise ({gains[0]}) and dropout ({gains[1]}) gain on these images" in readme
    settings = [
        claim["id"] for claim in warwick["claims"] if (claim["metric"], claim["verdict_seeds"]) == ("dsc", None)
    ]
    assert settings == ["C4b", "C5c"]
    assert "two are asked of other patients only" in readme


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_the_verdicts_in_the_docs_are_those_of_the_committed_results(path: Path):
    assert "\n".join(verdict_rows(json.loads(path.read_text()))) in (ROOT / "docs" / "verdicts.md").read_text()


def test_the_docs_say_more_of_the_studys_images(warwick: dict):
    page, results = (ROOT / "docs" / "verdicts.md").read_text(), warwick
    unmixed = json.loads((ROOT / "reports" / "reference" / "warwick-unmixed" / "results.json").read_text())
    assert judged_otherwise(unmixed, warwick) in " ".join(page.split())
    for lines in what_is_open(results):
        assert "\n".join(lines) in page
    assert dropouts_merit(results) in " ".join(page.split())
    assert coefficients(results) in " ".join(page.split())
    assert f"> {explain(*(judgement(claim) for claim in results['claims'] if claim['id'] == 'C1'))}\n" in page


def length(results: dict, experiments: Collection[str | None]) -> str:
    """How much was trained for some experiments; None are the variants."""
    side = {(name, variant): of for name, of_name in results["side"].items() for variant, of in of_name.items()}
    every = {(None, name): of | {"epochs": of["config"]["epochs"]} for name, of in results["variants"].items()} | side
    snapshots = ((None, "baseline"), ("new patients", "baseline"), ("new patients", "dropout 0.5"))  # of longer runs
    counted = [
        (run["seconds"], of["epochs"])
        for key, of in every.items()
        if key[0] in experiments and key not in snapshots
        for run in of["runs"]
    ]
    hours, epochs = sum(seconds for seconds, _ in counted) / 3600, sum(epochs for _, epochs in counted)
    return f"{len(counted)} runs, {epochs:,} epochs and {hours:.1f} core-hours of training"


def test_the_length_of_the_study_is_that_of_the_committed_one(warwick: dict):
    page = (ROOT / "docs" / "evidence.md").read_text()
    assert length(warwick, (None, "deeper", "new patients")) in page
    assert length(warwick, ("possible", "ladder")) in page


def possible_rows(results: dict) -> list[str]:
    """The networks as rows of the table in docs/possible.md."""

    def mean_dice(runs: list[dict]) -> str:
        return f"{fmean(run['test']['dice'] for run in runs):.3f}"

    studys, todays = results["variants"]["baseline"]["runs"], results["side"]["possible"]["possible"]["runs"]
    lowest, highest = (f"{of(run['test']['dice'] for run in todays):.3f}" for of in (min, max))
    held_out = [f"{results['side']['ladder'][step]['dice']:.3f}" for step in ("baseline", "scales")]
    constant = f"{results['dataset']['trivial']['all gland']['dice']:.3f}"
    return [
        f"| every pixel called gland | {constant} | |",
        f"| the study's network | {mean_dice(studys)}, mean of {len(studys)} runs | {held_out[0]} |",
        f"| today's network | {mean_dice(todays)}, mean of {len(todays)} runs, {lowest} to {highest} | {held_out[1]} |",
    ]


def test_the_docs_say_what_the_network_of_today_scores(warwick: dict):
    page = (ROOT / "docs" / "possible.md").read_text()
    assert "\n".join(possible_rows(warwick)) in page
    runs = warwick["side"]["possible"]["possible"]["runs"]
    fastest = min(run["seconds"] for run in runs)
    assert f"trained for {fastest / 60:.1f} minutes on one core" in page
    dice = fmean(run["test"]["dice"] for run in runs)
    assert f"trained on the same 85 images, reaches a Dice of {dice:.3f}" in " ".join(
        (ROOT / "README.md").read_text().split()
    )
