from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from lib import DSC
from lib.data import Dataset
from lib.metrics import confusion
from lib.training import (
    SeededDropout,
    TrainingConfig,
    as_tensors,
    build_network,
    evaluate,
    l2_penalty,
    predict,
    random_stream,
    train,
    train_epoch,
)

CONFIG = TrainingConfig(epochs=2, batch_size=4, evaluate_every=1)
VARIANTS = {
    "baseline": CONFIG,
    "noise": replace(CONFIG, noise_std=0.03),
    "dropout": replace(CONFIG, network="dropout_CNN_segment"),
    "l2": replace(CONFIG, l2=5e-5),
}


def weights(network):
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_one_batch_is_learned_by_heart(discs: Dataset):
    config = replace(CONFIG, epochs=150, batch_size=10, learning_rate=1e-2, evaluate_every=150)
    _, history = train(config, discs.train, discs.test)
    assert history.train["dice"][-1] > 0.97
    assert history.train["loss"][-1] < 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_seed_gives_the_same_bits_whatever_the_global_generator_did_before(variant, discs: Dataset):
    config = VARIANTS[variant]
    torch.manual_seed(1)
    first, first_history = train(config, discs.train, discs.test)
    torch.manual_seed(2)
    second, second_history = train(config, discs.train, discs.test)
    assert torch.equal(weights(first), weights(second))
    assert (first_history.train, first_history.test) == (second_history.train, second_history.test)


def test_another_seed_gives_another_network(discs: Dataset):
    networks = [train(replace(CONFIG, seed=seed), discs.train, discs.test)[0] for seed in (0, 1)]
    assert not torch.equal(*map(weights, networks))


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_leaves_the_callers_generator_and_threads_as_they_were(variant, discs: Dataset):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(replace(VARIANTS[variant], threads=threads + 1), discs.train, discs.test)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_one_seed_gives_every_variant_the_same_initialisation_and_batch_order(discs: Dataset, monkeypatch):
    orders: dict[str, list[list[int]]] = {}
    randperm = torch.randperm
    for variant, config in VARIANTS.items():
        orders[variant] = []

        def record(n, generator, seen=orders[variant]):
            seen.append((order := randperm(n, generator=generator)).tolist())
            return order

        monkeypatch.setattr(torch, "randperm", record)
        train(config, discs.train, discs.test)
    initial = {variant: weights(build_network(config)) for variant, config in VARIANTS.items()}
    assert all(torch.equal(initial[variant], initial["baseline"]) for variant in VARIANTS)
    assert all(order == orders["baseline"] for order in orders.values())
    assert orders["baseline"][0] != orders["baseline"][1]
    assert sorted(orders["baseline"][0]) == list(range(10))


def test_each_variant_differs_from_the_baseline(discs: Dataset):
    trained = {variant: weights(train(config, discs.train, discs.test)[0]) for variant, config in VARIANTS.items()}
    assert all(not torch.equal(trained[v], trained["baseline"]) for v in VARIANTS if v != "baseline")


def test_streams_of_two_purposes_or_two_seeds_differ():
    streams = {random_stream(seed, purpose) for seed in range(50) for purpose in ("order", "noise", "dropout")}
    assert len(streams) == 150


def test_noise_is_fresh_on_every_batch_of_the_stated_size_and_absent_from_evaluation(discs: Dataset):
    images, masks = as_tensors(discs.train)
    network, seen = build_network(CONFIG), []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    config = replace(CONFIG, noise_std=0.03, batch_size=10)
    order, noise = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    for _ in range(2):
        train_epoch(network, optimizer, images, masks, config, order, noise)
    added = [batch.sort(dim=0).values - images.sort(dim=0).values for batch in seen]
    assert not torch.equal(added[0], added[1])
    assert torch.stack([batch.mean() for batch in seen]).sub(images.mean()).abs().max() < 2e-3
    residual = torch.stack([batch.var() for batch in seen]).mean() - images.var()
    assert residual.item() == pytest.approx(0.03**2, rel=0.35)
    predict(network, images)
    assert torch.equal(torch.cat(seen[2:]), images)


def test_dropout_zeroes_half_and_doubles_the_rest_afresh_at_every_step():
    layer = SeededDropout(0.5, torch.Generator().manual_seed(1))
    ones = torch.ones(8, 16, 32, 32).contiguous(memory_format=torch.channels_last)
    first, second = layer(ones), layer(ones)
    assert set(first.unique().tolist()) == {0.0, 2.0}
    for drawn in (first, second):
        assert drawn.mean().item() == pytest.approx(1, abs=0.02)  # four standard errors
        per_channel, per_image = drawn.mean(dim=(0, 2, 3)), drawn.mean(dim=(1, 2, 3))
        assert (per_channel - 1).abs().max() < 0.06
        assert (per_image - 1).abs().max() < 0.06
    assert (first == second).double().mean().item() == pytest.approx(0.5, abs=0.01)
    neighbours = (first[..., 1:] == first[..., :-1]).double().mean().item()
    assert neighbours == pytest.approx(0.5, abs=0.01)
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.9])
def test_dropout_drops_with_its_probability_and_keeps_the_mean(p):
    drawn = SeededDropout(p, torch.Generator().manual_seed(1))(torch.ones(3, 5, 64, 63))
    assert (drawn == 0).double().mean().item() == pytest.approx(p, abs=0.01)
    assert drawn.max().item() == pytest.approx(1 / (1 - p))


def test_penalty_is_the_sum_of_squares_of_weights_and_biases():
    network = build_network(CONFIG)
    assert l2_penalty(network).item() == pytest.approx(float((weights(network).double() ** 2).sum()), rel=1e-5)


def test_penalty_in_the_loss_equals_weight_decay_of_twice_the_coefficient(discs: Dataset):
    images, masks = as_tensors(discs.train)
    network, decayed = build_network(CONFIG), build_network(CONFIG)
    ours = torch.optim.Adam(network.parameters(), lr=1e-3)
    theirs = torch.optim.Adam(decayed.parameters(), lr=1e-3, weight_decay=2 * 0.01)
    for trained, optimizer, l2 in ((network, ours, 0.01), (decayed, theirs, 0.0)):
        generators = torch.Generator().manual_seed(1), torch.Generator()
        train_epoch(trained, optimizer, images, masks, replace(CONFIG, l2=l2), *generators)
    torch.testing.assert_close(weights(network), weights(decayed), rtol=1e-3, atol=1e-5)


def test_evaluation_scores_each_image_by_itself(discs: Dataset):
    images, masks = as_tensors(discs.test)
    network = build_network(CONFIG)
    scores, probabilities = evaluate(network, images, masks), predict(network, images)
    for index in range(len(images)):
        pred, true = probabilities[index] > 0.5, masks[index] > 0.5
        counts = confusion(pred[None], true[None])
        expected = [binary_cross_entropy(probabilities[index], masks[index]), DSC(pred, true), counts.dice, counts.iou]
        found = [scores[metric][index] for metric in ("loss", "dsc", "dice", "iou")]
        assert found == pytest.approx([float(value) for value in expected], abs=1e-6)


def test_history_ends_with_the_scores_of_the_returned_network(discs: Dataset):
    network, history = train(VARIANTS["dropout"], discs.train, discs.test)
    for split, curves in ((discs.train, history.train), (discs.test, history.test)):
        for metric, values in evaluate(network, *as_tensors(split)).items():
            assert curves[metric][-1] == pytest.approx(float(np.mean(values)), abs=1e-6)


def test_scoring_follows_evaluate_every_and_always_the_last_epoch(discs: Dataset):
    epochs: list[None] = []
    _, history = train(
        replace(CONFIG, epochs=7, evaluate_every=3), discs.train, discs.test, on_epoch=lambda: epochs.append(None)
    )
    assert history.epochs == [3, 6, 7]
    assert len(history.seconds) == len(epochs) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs\n  Input should be greater than 0"),
        ({"l2": -1.0}, "l2\n  Input should be greater than or equal to 0"),
        ({"noise_std": float("nan")}, "noise_std\n  Input should be greater than or equal to 0"),
        ({"learning_rate": 0.0}, "learning_rate\n  Input should be greater than 0"),
        ({"network": "deep"}, "network\n  Input should be 'shallower_CNN_segment' or 'dropout_CNN_segment'"),
    ],
)
def test_configuration_refuses_values_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**change)
