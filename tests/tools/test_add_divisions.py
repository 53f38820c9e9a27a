from dataclasses import replace

import pytest

from lib._errors import UserError
from lib.claims.evidence import Evidence
from lib.claims.verdicts import claim_results, judge
from lib.data.dataset import Dataset
from tests.claims.test_claims import dataset, full  # noqa: F401
from tests.tools.add_divisions import ALIKE, join


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
