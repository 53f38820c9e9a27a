"""The recipe of section 4: what each of its settings does, and that without them it is the study's."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from lib.data.dataset import Dataset
from lib.evaluation import predict
from lib.recipe import Recipe, augmented
from lib.runs import store
from lib.runs.store import from_bytes, to_bytes
from lib.training import Training, TrainingConfig, build_network, generator, train

STUDYS = TrainingConfig(epochs=2, batch_size=4, snapshot_every=1)
TODAYS = Recipe(
    epochs=4, batch_size=4, snapshot_every=2, network="UNet", normalized=True, augmentation=0.6, dice_loss=1.0,
    one_cycle=True, weight_decay=0.01, scales=(0.75, 1.5),
)  # fmt: skip


def test_at_its_defaults_it_trains_bit_for_bit_what_the_study_does(discs: Dataset):
    settings = {field.name: getattr(STUDYS, field.name) for field in fields(STUDYS)}
    for changes in ({}, {"noise_std": 0.03}, {"network": "dropout_CNN_segment"}, {"l2": 5e-5}):
        plain, recipe = (
            train(config, discs.train.images, discs.train.masks).network.state_dict()
            for config in (replace(STUDYS, **changes), Recipe(**(settings | changes)))
        )
        assert plain.keys() == recipe.keys()
        assert all(torch.equal(plain[name], recipe[name]) for name in plain)


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_augmentation_keeps_shapes_ranges_and_binary_masks_and_changes_the_images(size):
    inputs = torch.rand(8, 3, *size)
    masks = (torch.rand(8, *size) > 0.5).float()
    images, shapes = augmented(inputs, masks, 1.0, generator(0, "noise"))
    assert images.shape == inputs.shape
    assert shapes.shape == masks.shape
    assert images.dtype == shapes.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    assert set(shapes.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(shapes, masks)
    again = augmented(inputs, masks, 1.0, generator(0, "noise"))
    assert torch.equal(images, again[0])
    assert torch.equal(shapes, again[1])


def test_augmentation_moves_image_and_mask_together():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    masks = (((x - 24) ** 2 + (y - 36) ** 2 < 144) & (x > 18)).float().expand(16, -1, -1)
    inputs = (0.2 + 0.6 * masks)[:, None].expand(-1, 3, -1, -1)
    images, shapes = augmented(inputs, masks, 0.6, generator(1, "noise"))
    grey = images.mean(dim=1)
    middle = (grey.amin(dim=(1, 2), keepdim=True) + grey.amax(dim=(1, 2), keepdim=True)) / 2
    disagree = ((grey > middle).float() != shapes).float().mean(dim=(1, 2))
    assert disagree.max() < 0.03  # gamma moves the middle a little, at borders alone
    assert (shapes != masks).float().mean() > 0.5 * masks.mean()  # they did move


@pytest.mark.parametrize("size", [(32, 32), (36, 52), (16, 40)])
def test_eval_averages_over_scales_and_turns_and_training_does_not(size):
    torch.manual_seed(0)
    images = torch.rand(2, 3, *size)
    single, averaged = (build_network(replace(TODAYS, scales=scales)) for scales in ((), TODAYS.scales))
    assert torch.equal(single.train()(images), averaged.train()(images))
    single, averaged = single.eval(), averaged.eval()
    with torch.inference_mode():
        views = [single(images)]
        for turns, scale in enumerate(TODAYS.scales, start=1):
            sides = [max(16, 8 * round(side * scale / 8)) for side in size]
            shrunk = torch.nn.functional.interpolate(images, sides, mode="bilinear", antialias=True)
            found = single(shrunk.rot90(turns, (2, 3))).rot90(-turns, (1, 2))
            views.append(torch.nn.functional.interpolate(found[:, None], size, mode="bilinear")[:, 0])
        torch.testing.assert_close(averaged(images), sum(views) / len(views), rtol=0, atol=1e-6)


def test_each_view_lies_on_the_image_again():
    """An image of a bright half, which a network that calls bright foreground finds from every view."""
    network = build_network(Recipe(scales=(0.75, 0.875, 1.125, 1.25)))
    network.forward = lambda x: x[:, 0]  # type: ignore[method-assign]
    images = torch.zeros(1, 3, 64, 48)
    images[..., :20] = 1
    found = network.eval()(images)[0]
    assert found[:, :18].min() > 0.9
    assert found[:, 22:].max() < 0.1


def test_the_rate_rises_to_its_peak_and_falls_to_nearly_nothing():
    config = replace(TODAYS, epochs=80, learning_rate=2e-3)
    rates = [config.rate(epoch) for epoch in range(80)]
    peak = rates.index(max(rates))
    assert peak in (19, 20)  # after a quarter of the epochs
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert math.isclose(max(rates), 2e-3, rel_tol=0.01)
    assert 0 < rates[-1] < 2e-6
    assert {replace(config, one_cycle=False).rate(epoch) for epoch in range(80)} == {2e-3}


@pytest.mark.parametrize(("height", "width"), [(16, 16), (30, 18), (6, 40)])
def test_it_trains_on_small_images_of_which_one_is_left_over(height, width):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, height, width, 3), dtype=np.uint8)  # a batch of four, and one of one
    trained = train(replace(TODAYS, epochs=1), images, images[..., 0] > 127)
    assert predict(trained.network, torch.from_numpy(images)).shape == (5, height, width)


@pytest.mark.parametrize("interrupted_after", [1, 2, 3])
def test_a_run_of_it_continues_bit_for_bit_as_if_never_interrupted(interrupted_after, discs: Dataset):
    data = discs.train.images, discs.train.masks
    whole, first, second = train(TODAYS, *data), Training(TODAYS), Training(TODAYS)
    for _ in range(interrupted_after):
        first.advance(*data)
    second.load_state_dict(from_bytes(to_bytes(first.state_dict())))
    while not second.finished:
        second.advance(*data)
    assert second.snapshots.keys() == whole.snapshots.keys() == {2, 4}
    for epoch, snapshot in whole.snapshots.items():
        assert all(torch.equal(second.snapshots[epoch][name], value) for name, value in snapshot.items())
    images = torch.from_numpy(discs.test.images)
    assert torch.equal(predict(second.network, images), predict(whole.network, images))


def test_the_key_of_a_studys_run_does_not_change_with_the_recipe(discs: Dataset, monkeypatch):
    before = [store.folder_of(config, discs) for config in (STUDYS, TODAYS)]
    usual = store.code_hash
    monkeypatch.setattr(store, "code_hash", lambda *modules: usual(*modules) + "changed" * ("recipe" in modules))
    after = [store.folder_of(config, discs) for config in (STUDYS, TODAYS)]
    assert after[0] == before[0]
    assert after[1] != before[1]
