from dataclasses import replace

import pandas as pd
import pytest

from lib._errors import UserError
from lib.claims.evidence import Evidence, image_table, of_images
from lib.claims.verdicts import claim_results, judge
from lib.data.dataset import Dataset
from tests.claims.test_claims import dataset, full  # noqa: F401
from tests.tools.add_divisions import ALIKE, join, stored_scores


def content(evidence: Evidence, repeats: int) -> dict:
    """The part of a results.json that is joined."""
    return {
        "parameters": dict.fromkeys(ALIKE, "same") | {"repeats": repeats},
        "provenance": {"dataset_sha256": "same"},
        "claims": [claim_results(judged) for judged in judge(evidence)],
        "side": {},
    }


def without_runs(evidence: Evidence, seeds: int) -> Evidence:
    """The evidence of fewer seeds."""
    by_image = evidence.by_image[evidence.by_image.index.get_level_values("seed") < seeds]
    equal = evidence.equal_epochs
    return replace(
        evidence,
        by_image=by_image,
        equal_epochs=None if equal is None else equal[equal.index.get_level_values("seed") < seeds],
    )


def test_seeds_of_one_run_and_divisions_of_another_say_what_one_run_of_both_says(dataset: Dataset):  # noqa: F811
    both = full(dataset, noise=0.02, l2=-0.02)
    joined = join(content(replace(both, in_folds=None), 0), content(without_runs(both, 2), 8))
    assert joined["claims"] == content(both, 8)["claims"]
    assert joined["parameters"]["repeats"] == 8


def test_divisions_with_other_settings_or_claims_are_not_joined(dataset: Dataset):  # noqa: F811
    one = content(full(dataset), 8)
    with pytest.raises(UserError, match="EPOCHS: expected as in the reference"):
        join(one, one | {"parameters": one["parameters"] | {"epochs": 5}})
    with pytest.raises(UserError, match="expected a reference with the claims of today"):
        join(one, one | {"claims": one["claims"][1:]})


def test_a_committed_table_tells_the_scores_that_it_was_made_of(dataset: Dataset):  # noqa: F811
    both = full(dataset, noise=0.02)
    in_order = both.by_image.sort_index(level="split", ascending=False, sort_remaining=False)  # training images first
    table = image_table(replace(both, by_image=in_order))
    stored = stored_scores(table, dataset)
    again = Evidence(stored["splits"], None, None, stored["folds"], **of_images(dataset))
    pd.testing.assert_frame_equal(image_table(again), table)
    assert stored["splits"]["dsc"].to_dict() == both.by_image["dsc"].to_dict()
    assert stored["folds"]["dsc"].to_dict() == both.in_folds["dsc"].to_dict()


def test_what_a_reference_has_already_stays_as_it_is(dataset: Dataset):  # noqa: F811
    both = full(dataset, noise=0.02)
    settings = both.in_folds.index.get_level_values("variant").isin(["two dropouts"])
    before = content(replace(both, in_folds=both.in_folds[~settings]), 8)
    joined = {(claim["id"], claim["metric"]): claim for claim in join(before, content(both, 8))["claims"]}
    untested = [(claim["id"], claim["metric"]) for claim in before["claims"] if claim["verdict"] == "not run"]
    assert untested == [("C4b", "dsc"), ("C4b", "dice")]
    assert all(joined[key]["verdict"] != "not run" for key in untested)
    assert all(claim in joined.values() for claim in before["claims"] if (claim["id"], claim["metric"]) not in untested)
