"""Judgements made by hand, for tests of what draws and words them, and of stored ones."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pandas as pd
import pytest

from lib.claims.evidence import Evidence
from lib.claims.intervals import Estimate, Interval, Needed
from lib.claims.verdicts import (
    CLAIMS,
    ContrastJudgement,
    CorrelationJudgement,
    DepthJudgement,
    Judgement,
    NotRun,
    contrasts,
)

KINDS = {"C1": DepthJudgement, "C2": CorrelationJudgement}
IN_FOLDS = ("C4b", "C5c")  # which have no runs on one split


def nan_for_none(value: Any) -> Any:
    return float("nan") if value is None else value


def of_type(kind: type, results: dict[str, Any]) -> Any:
    """An estimate or an interval from the numbers of a results.json; what it does not hold is unknown."""
    return kind(*(nan_for_none(results.get(field.name)) for field in fields(kind)))


def judgement(results: dict[str, Any]) -> Judgement | NotRun:
    """The inverse of `claim_results`, for those that are stored and for those that a test writes down."""
    (claim,) = (claim for claim in CLAIMS if claim.id == results["id"])
    if results["verdict"] == "not run":
        return NotRun(claim=claim, metric=results["metric"], missing=results["missing"])
    kind = KINDS.get(claim.id, ContrastJudgement)
    of_kind: dict[str, Any] = {}
    seeds = {name: nan_for_none(results.get(f"seed_{name}")) for name in ("low", "high", "p_value", "se")}
    seed_effect = results["seed_effect"] if results.get("seed_effect") is not None else results["effect"]
    over_seeds: Any = Interval(nan_for_none(seed_effect), seeds["low"], seeds["high"], seeds["p_value"])
    if issubclass(kind, ContrastJudgement):
        over_seeds = Estimate(*vars(over_seeds).values(), seeds["se"], len(results["by_run"]) - 1)
        of_kind["effective_clusters"] = nan_for_none(results["effective_clusters"])
    if kind is DepthJudgement:
        of_kind |= {key: results[key] for key in ("untrained", "first_gradients")}
        of_kind["untrained_shallower"] = results.get("untrained_shallower", 0)
    return kind(
        claim=claim,
        metric=results["metric"],
        measure=results["measure"],
        verdict=results["verdict"],
        verdict_seeds=results.get("verdict_seeds"),
        over_seeds=None if claim.id in IN_FOLDS else over_seeds,
        n_divisions=results.get("n_divisions", 0),
        estimate=of_type(Interval if kind is CorrelationJudgement else Estimate, results),
        by_run=tuple(nan_for_none(effect) for effect in results["by_run"]),
        n_images=results["n_images"],
        n_patients=results["n_patients"],
        also={also["measure"]: of_type(Interval, also) for also in results["also"]},
        **{name: Needed(**results[name]) for name in ("needed", "needed_seeds") if results.get(name)},
        **of_kind,
    )


def evidence_of(table: pd.DataFrame) -> Evidence:
    """The part of the evidence that `image_table` keeps, enough to judge every contrast again."""
    table = table.astype({"image": str, "patient": str})
    images = table.drop_duplicates("image").set_index("image")["patient"]
    known = "-1" not in set(images)
    frames = {
        place: of.rename(columns={"run": "seed"}).set_index(["variant", "seed", "split", "image"]).sort_index()
        for place, of in table.groupby("place")
    }
    patients = {(split, image): who for split in ("train", "test", "testB") for image, who in images.items()}
    return Evidence(
        by_image=frames["splits"],
        at_epoch=None,
        equal_epochs=None,
        in_folds=frames.get("folds"),
        patients=patients if known else None,
        fold_patients=dict(images) if known else None,
        constant_answer=pd.DataFrame(),
        border_contrast=pd.Series(dtype=float),
    )


def check_recomputed(table: pd.DataFrame, claims: Sequence[dict[str, Any]]) -> int:
    """Asserts effect, se, df and both intervals of every contrast claim from single images; returns how many."""
    evidence, checked = evidence_of(table), 0
    for metric in ("dsc", "dice"):
        found = contrasts(evidence, metric)
        for claim in CLAIMS:
            stored = next(c for c in claims if (c["id"], c["metric"]) == (claim.id, metric))
            if claim.id == "C3d" or (claim.variant, claim.quantity) not in found or stored["verdict"] == "not run":
                continue
            measured = found[claim.variant, claim.quantity]
            ours = {**vars(measured.over_patients), "seed_effect": measured.over_seeds.effect}
            ours |= {"seed_low": measured.over_seeds.ci_low, "seed_high": measured.over_seeds.ci_high}
            for name in ("effect", "se", "df", "ci_low", "ci_high", "seed_effect", "seed_low", "seed_high"):
                assert ours[name] == pytest.approx(nan_for_none(stored[name]), rel=1e-3, abs=2e-6, nan_ok=True), name
            checked += 1
    return checked


def written(**changes: Any) -> dict[str, Any]:
    """A claim on a contrast of two runs as in results.json, with changes."""
    return {
        "id": "C3a", "metric": "dsc", "measure": "test score", "verdict": "undecided", "verdict_seeds": "supported",
        "effect": 0.02, "ci_low": 0.01, "ci_high": 0.03, "p_value": 0.5, "se": 0.1, "df": 5.0,
        "seed_low": 0.015, "seed_high": 0.025, "seed_p_value": 0.1, "seed_se": 0.002,
        "by_run": [0.01, 0.03], "n_images": 60, "n_patients": 9, "effective_clusters": 5.0, "also": [],
    } | changes  # fmt: skip
