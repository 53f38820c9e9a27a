import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cdist
from skimage.measure import label
from skimage.metrics import hausdorff_distance

from lib.shapes import object_scores, surface_dice

NOTHING = np.zeros((20, 40), bool)
masks = arrays(bool, (5, 7))


def square(top: int, left: int, side: int = 6) -> np.ndarray:
    mask = NOTHING.copy()
    mask[top : top + side, left : left + side] = True
    return mask


TRUE = square(8, 8)


@pytest.mark.parametrize(
    ("pred", "expected"),
    [
        (TRUE, 1),
        (square(8, 9), 1),  # off by 1 pixel: within the tolerance everywhere
        (square(8, 10), 1),  # off by 2, which is not more than it
        # Off by 5: of the 20 border pixels of the second square those near the first's are the 6 of column 13, which
        # both have, and 2 each of columns 14 and 15; as many of the first.
        (square(8, 13), 2 * (6 + 2 + 2) / 40),
        (square(8, 20), 0),
        (NOTHING, 0),
        (~NOTHING, 0),  # no border inside of the image
    ],
)
def test_surface_dice_of_squares_drawn_by_hand(pred, expected):
    assert surface_dice(pred, TRUE) == pytest.approx(expected)
    assert surface_dice(TRUE, pred) == pytest.approx(expected)


def test_without_any_border_surface_dice_says_whether_the_masks_agree():
    assert [surface_dice(NOTHING, NOTHING), surface_dice(~NOTHING, ~NOTHING)] == [1, 1]
    assert surface_dice(~NOTHING, NOTHING) == 0


def test_the_edge_of_the_image_is_no_border():
    half, more = NOTHING.copy(), NOTHING.copy()
    half[:10], more[:14] = True, True
    assert surface_dice(more, half) == 0  # although both meet three edges of the image at the same pixels


def border(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask with background at a side, pixel by pixel, as coordinates."""
    padded = np.pad(mask, 1, mode="edge")
    sides = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.argwhere(mask & ~sides)


@given(masks, masks)
def test_surface_dice_is_that_of_all_distances_between_the_borders(pred, true):
    ours, theirs = border(pred), border(true)
    assume(len(ours) and len(theirs))
    near = cdist(ours, theirs) <= 2
    expected = (near.any(axis=1).sum() + near.any(axis=0).sum()) / (len(ours) + len(theirs))
    assert surface_dice(pred, true) == pytest.approx(expected)


TWO = square(8, 2) | square(8, 20)


@pytest.mark.parametrize(
    ("pred", "f1", "dice", "hausdorff"),
    [
        (TWO, 1, 1, 0),
        (square(8, 2), 2 / 3, (0.5 + 1) / 2, 18 / 2 / 2),  # the other is half of the truth, 18 pixels from the nearest
        # The second of both share no pixel, and lie 10 apart: nearer to each other than to the first ones.
        (square(8, 2) | square(8, 30), 1 / 2, 1 / 2, 10 / 2),
        # Both off by 2: each shares 24 of 36 pixels with its partner.
        (square(8, 4) | square(8, 22), 1, 24 / 36, 2),
        # Exactly half of each is covered, which is not more than half.
        (square(8, 5) | square(8, 23), 0, 18 / 36, 3),
        # One object over both, 24 x 6: found once. Its Dice with either is 2 x 36 / (36 + 144), its far end 18 away.
        (square(8, 2) | square(8, 8) | square(8, 14) | square(8, 20), 2 / 3, 72 / 180, 18),
        (NOTHING, 0, 0, np.hypot(20, 40)),
    ],
)
def test_object_scores_of_two_squares_drawn_by_hand(pred, f1, dice, hausdorff):
    expected = {"f1": f1, "dice": dice, "hausdorff": hausdorff}
    assert object_scores(pred, TWO) == pytest.approx(expected)


def test_objects_that_touch_at_a_corner_are_one():
    chain = square(2, 2) | square(8, 8)
    assert object_scores(square(2, 2), chain)["f1"] == 0  # half of the only object
    assert object_scores(chain, square(2, 2) | square(14, 14))["f1"] == pytest.approx(2 / 3)


def test_objects_count_by_their_size():
    true = square(2, 2, 10) | square(2, 20, 2)
    missed = object_scores(square(2, 2, 10), true)
    assert missed["dice"] == pytest.approx((100 / 104 + 1) / 2)
    assert missed["f1"] == pytest.approx(2 / 3)


def test_distances_are_those_of_the_images_before_they_were_shrunk():
    def larger(mask):
        return mask.repeat(3, axis=0).repeat(2, axis=1)

    pred = square(8, 2) | square(9, 24)
    small, large = object_scores(pred, TWO, (3, 2)), object_scores(larger(pred), larger(TWO))
    assert small == pytest.approx(large)
    assert small["hausdorff"] != pytest.approx(object_scores(pred, TWO)["hausdorff"])
    assert object_scores(NOTHING, TWO, (3, 2)) == object_scores(larger(NOTHING), larger(TWO))


def test_object_scores_of_two_empty_masks_are_perfect():
    assert object_scores(NOTHING, NOTHING) == {"f1": 1, "dice": 1, "hausdorff": 0}


@given(masks, masks)
def test_the_distance_between_single_objects_is_that_of_scikit_image(pred, true):
    assume(pred.any() and true.any())
    first_pred, first_true = label(pred) == 1, label(true) == 1
    expected = hausdorff_distance(first_pred, first_true)
    assert object_scores(first_pred, first_true)["hausdorff"] == pytest.approx(expected)
