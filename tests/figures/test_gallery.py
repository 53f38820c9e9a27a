import base64
import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import draw_discs
from PIL import Image

from lib.data.dataset import Split
from lib.figures.gallery import LARGEST, LOSSLESS, choose, outline, pictures, portable_weights
from lib.figures.images import what_is_missed
from lib.models import NETWORKS
from lib.runs.run import Run
from lib.training import TrainingConfig, build_network


def untrained() -> Run:
    config = TrainingConfig(seed=0, epochs=1)
    return Run(config, None, [1.0], [], {1: build_network(config).state_dict()}, {})


def scores_of(split: Split) -> pd.DataFrame:
    return pd.DataFrame({"dsc": np.linspace(0, 1, len(split)), "dice": 0.5}, index=list(split.names))


def test_outline_runs_around_the_pixels_of_a_mask():
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:3] = True
    # Half pixels: the square reaches from 2 to 6, and its corners are cut.
    assert outline(mask) == "M5 6l-2 0-1-1 0-2 1-1 2 0 1 1 0 2z"
    assert outline(np.zeros((4, 4), bool)) == ""
    assert outline(np.ones((4, 4), bool)).count("M") == 1


def test_up_to_the_limit_all_images_are_shown():
    assert choose(np.array([0.3, 0.1, 0.2]), limit=3).tolist() == [0, 1, 2]


def test_beyond_the_limit_the_extremes_and_a_sample_are_shown():
    dsc = np.random.default_rng(0).permutation(5000) / 5000
    chosen = choose(dsc, limit=120, extremes=20)
    assert len(set(chosen.tolist())) == 120
    assert chosen.tolist() == sorted(chosen)
    ranks = np.sort(dsc[chosen] * 5000).round()
    np.testing.assert_array_equal(ranks[:20], np.arange(20))
    np.testing.assert_array_equal(ranks[-20:], np.arange(4980, 5000))
    assert np.diff(ranks).max() < 70  # evenly between them


def test_pictures_carry_names_scores_and_shares_in_the_order_of_the_split():
    split = draw_discs(3, seed=1)
    shown = pictures(untrained(), split, scores_of(split).iloc[::-1])
    assert [picture.name for picture in shown] == list(split.names)
    assert [picture.dsc for picture in shown] == [0, 0.5, 1]
    assert [picture.true for picture in shown] == pytest.approx(split.masks.mean(axis=(1, 2)).tolist())
    assert shown == pictures(untrained(), split, scores_of(split))


@pytest.mark.slow
def test_thousands_of_large_noisy_images_do_not_sink_the_file():
    rng = np.random.default_rng(0)
    images = np.broadcast_to(rng.integers(0, 256, (1, 64, 64, 3), np.uint8), (2000, 64, 64, 3))
    masks = np.broadcast_to(draw_discs(1, seed=1, size=64).masks, (2000, 64, 64))
    split = Split(tuple(f"image_{i}" for i in range(2000)), images, masks)
    shown = pictures(untrained(), split, scores_of(split))
    assert sum(len(picture.image + picture.truth + picture.prediction) for picture in shown) < 4e6 + LOSSLESS
    exact = sorted((picture.disagreement for picture in shown if picture.exact), reverse=True)
    assert 0 < len(exact) < len(shown)
    assert exact[-1] >= max(picture.disagreement for picture in shown if not picture.exact)


def test_an_exact_picture_has_every_pixel_as_it_was():
    split = draw_discs(2, seed=1)
    for picture, image in zip(pictures(untrained(), split, scores_of(split)), split.images, strict=True):
        assert picture.exact
        stored = Image.open(io.BytesIO(base64.b64decode(picture.image.split(",")[1])))
        np.testing.assert_array_equal(np.asarray(stored), image)


def test_weights_for_the_page_are_those_of_the_studys_architecture_in_their_order():
    run = untrained()
    deeper = replace(run, snapshots={1: NETWORKS["deeper_CNN_segment"]().state_dict()})
    (name, encoded), *others = portable_weights({"baseline": [run] * 5, "longer": [run], "noise": [deeper]}).items()
    weights = np.frombuffer(base64.b64decode(encoded), "<f4")
    assert (name, others) == ("Baseline, seed 0", [])
    np.testing.assert_array_equal(weights, np.concatenate([value.ravel() for value in run.weights.values()]))


def test_a_picture_is_no_larger_than_it_is_seen():
    size = 2 * LARGEST
    split = Split(("image",), np.zeros((1, size, size, 3), np.uint8), np.zeros((1, size, size), bool))
    (picture,) = pictures(untrained(), split, scores_of(split))
    stored = Image.open(io.BytesIO(base64.b64decode(picture.image.split(",")[1])))
    assert stored.size == (LARGEST, LARGEST)
    assert not picture.exact  # the network sees more pixels


NOTHING, ALL = np.zeros((10, 10), bool), np.ones((10, 10), bool)
DOTS = (np.indices((10, 10)) % 3 == 0).all(axis=0)  # 16, none of them large


def squares(*columns: int) -> np.ndarray:
    mask = NOTHING.copy()
    for column in columns:
        mask[1:4, column : column + 2] = True
    return mask


@pytest.mark.parametrize(
    ("mask_true", "mask_pred", "said"),
    [
        (ALL, ALL, "every pixel right"),
        (NOTHING, NOTHING, "every pixel right"),
        (NOTHING, squares(0), "no foreground, 6% predicted"),
        (squares(0, 4), NOTHING, "nothing found"),
        (squares(0, 4), ALL, "100% of the background called foreground"),
        (squares(0, 4), ~squares(0), "100% of the background called foreground, 50% of the foreground missed"),
        (squares(0, 4), squares(7) & (np.arange(10) == 7), "both large objects mostly missed"),
        (squares(0, 4), squares(0), "1 of 2 large objects mostly missed"),
        (squares(0, 3, 6), squares(8) & (np.arange(10) == 8), "all 3 large objects mostly missed"),
        (squares(0), squares(0) & (np.arange(10)[:, None] == 1), "the only large object mostly missed"),
        (squares(0), squares(0) & (np.arange(10)[:, None] < 3), "33% of the foreground missed"),
        (DOTS, DOTS & (np.arange(10) < 5), "50% of the foreground missed"),
    ],
)  # fmt: skip
def test_what_is_missed_follows_from_the_masks(mask_true, mask_pred, said):
    assert what_is_missed(mask_true, mask_pred) == said
