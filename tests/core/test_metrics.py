import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional import classification as judge

from lib import DSC
from lib.metrics import confusion


def mask(*rows: str) -> torch.Tensor:
    """One image from rows of '#' (foreground) and '.'."""
    return torch.tensor([[[character == "#" for character in row] for row in rows]])


TRUE = mask("......", ".##...", ".##...", "......", "......", "......")
HALF = mask("......", ".##...", "......", "......", "......", "......")
SHIFTED = mask("......", "..##..", "..##..", "......", "......", "......")
NOTHING = mask(*["......"] * 6)
EVERYTHING = mask(*["######"] * 6)

masks = arrays(bool, (3, 4, 6)).map(torch.from_numpy)


@pytest.mark.parametrize(
    ("pred", "dsc", "dice", "iou"),
    [
        (TRUE, 1, 1, 1),
        (HALF, 34 / 36, 4 / 6, 2 / 4),
        (SHIFTED, 32 / 36, 4 / 8, 2 / 6),
        (NOTHING, 32 / 36, 0, 0),
        (EVERYTHING, 4 / 36, 8 / 40, 4 / 36),
    ],
)
def test_scores_of_hand_drawn_masks(pred, dsc, dice, iou):
    counts = confusion(pred, TRUE)
    assert [score.item() for score in (DSC(pred, TRUE), counts.dice, counts.iou)] == pytest.approx([dsc, dice, iou])
    assert (counts.tp + counts.fp + counts.fn + counts.tn).tolist() == [36]


def test_every_score_of_two_empty_masks_is_one():
    counts = confusion(NOTHING, NOTHING)
    assert [counts.dice, counts.iou] == [1, 1]


def test_scores_of_a_false_alarm_on_an_empty_mask_are_zero():
    counts = confusion(HALF, NOTHING)
    assert [counts.dice, counts.iou] == [0, 0]


def test_scores_are_per_image_so_that_their_mean_weighs_images_equally():
    pred, true = torch.cat([EVERYTHING, NOTHING]), torch.cat([EVERYTHING, TRUE])
    assert confusion(pred, true).dice.tolist() == [1, 0]


@given(masks, masks)
def test_metrics_agree_with_torchmetrics(pred, true):
    counts = confusion(pred, true)
    accuracy = judge.binary_accuracy(pred.int(), true.int()).item()
    assert DSC(pred, true).item() == pytest.approx(accuracy, abs=1e-6)
    for ours, theirs in ((counts.dice, judge.binary_f1_score), (counts.iou, judge.binary_jaccard_index)):
        for image in range(len(pred)):
            # Where there is nothing to find and nothing found torchmetrics says 0; we say 1, and test it above.
            if pred[image].any() or true[image].any():
                expected = theirs(pred[image].int(), true[image].int()).item()
                assert ours[image].item() == pytest.approx(expected, abs=1e-6)


@given(masks, masks)
def test_dice_and_iou_are_symmetric_and_dice_follows_from_iou(a, b):
    ours, swapped = confusion(a, b), confusion(b, a)
    assert torch.equal(ours.dice, swapped.dice)
    assert torch.equal(ours.iou, swapped.iou)
    torch.testing.assert_close(ours.dice, 2 * ours.iou / (1 + ours.iou))


@given(masks, masks)
def test_dsc_of_masks_of_one_shape_is_the_pixel_accuracy(a, b):
    assert DSC(a, b).item() == pytest.approx((a == b).double().mean().item())


@given(st.floats(0.1, 1))
def test_dsc_broadcasts_as_the_study_wrote_it_and_exceeds_one(value):
    assert DSC(torch.full((4, 4), value), torch.tensor(value)).item() == pytest.approx(2 * 16 / 17)


def test_confusion_refuses_masks_of_two_shapes():
    with pytest.raises(ValueError, match=r"mask_pred: expected the shape of mask_true, \(1, 6, 6\), found \(1, 6, 5\)"):
        confusion.__wrapped__(TRUE[..., :5], TRUE)  # as outside of tests, where jaxtyping does not look
