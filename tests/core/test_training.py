from dataclasses import replace

import pytest
import torch
from torch import nn

from lib import shallower_CNN_segment
from lib.data.dataset import Dataset, Split
from lib.evaluation import evaluate, predict
from lib.runs.store import from_bytes, to_bytes
from lib.training import (
    SeededDropout,
    Training,
    TrainingConfig,
    as_input,
    build_network,
    l2_penalty,
    random_stream,
    train,
    train_epoch,
)

CONFIG = TrainingConfig(epochs=2, batch_size=4, snapshot_every=1)
VARIANTS = {
    "baseline": CONFIG,
    "noise": replace(CONFIG, noise_std=0.03),
    "dropout": replace(CONFIG, network="dropout_CNN_segment"),
    "l2": replace(CONFIG, l2=5e-5),
}


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def tensors(split: Split) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.from_numpy(split.images), torch.from_numpy(split.masks)


def trained(config: TrainingConfig, dataset: Dataset) -> Training:
    return train(config, dataset.train.images, dataset.train.masks)


def test_one_batch_is_learned_by_heart(discs: Dataset):
    config = replace(CONFIG, epochs=150, batch_size=10, learning_rate=1e-2)
    scores = evaluate(trained(config, discs).network, *tensors(discs.train))
    assert scores["dice"].mean() > 0.97
    assert scores["loss"].mean() < 0.1


@pytest.mark.parametrize("variant", VARIANTS)
def test_same_seed_gives_the_same_bits_whatever_the_global_generator_did_before(variant, discs: Dataset):
    torch.manual_seed(1)
    first = trained(VARIANTS[variant], discs)
    torch.manual_seed(2)
    second = trained(VARIANTS[variant], discs)
    assert torch.equal(weights(first.network), weights(second.network))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_continues_from_any_epoch_bit_for_bit_as_if_never_interrupted(variant, precision, discs: Dataset):
    config = replace(VARIANTS[variant], epochs=4, snapshot_every=2, precision=precision)
    whole = trained(config, discs)
    for interrupted_after in (0, 1, 2, 3):
        first = Training(config)
        for _ in range(interrupted_after):
            first.advance(discs.train.images, discs.train.masks)
        second = Training(config)
        second.load_state_dict(from_bytes(to_bytes(first.state_dict())))
        while not second.finished:
            second.advance(discs.train.images, discs.train.masks)
        assert torch.equal(weights(second.network), weights(whole.network))
        assert second.snapshots.keys() == whole.snapshots.keys() == {2, 4}
        for epoch, snapshot in whole.snapshots.items():
            assert all(torch.equal(second.snapshots[epoch][name], value) for name, value in snapshot.items())


def test_the_engines_ways_to_be_fast_change_nothing_but_rounding(discs: Dataset):
    """A plain loop as the study's author would write it: float images, `nn.BCELoss`, the defaults."""
    config = replace(CONFIG, epochs=3)
    order = Training(config).generators["order"]
    network = shallower_CNN_segment()
    network.load_state_dict(build_network(config).state_dict())
    images = torch.from_numpy(discs.train.images).permute(0, 3, 1, 2).contiguous() / 255
    masks, loss_of = torch.from_numpy(discs.train.masks).float(), nn.BCELoss()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(3):
        for batch in torch.randperm(len(images), generator=order).split(4):
            optimizer.zero_grad()
            loss_of(network(images[batch]), masks[batch]).backward()
            optimizer.step()
    torch.testing.assert_close(weights(network), weights(trained(config, discs).network), rtol=0, atol=1e-5)


def test_bf16_gives_other_numbers_near_those_of_fp32(discs: Dataset):
    fp32, bf16 = (weights(trained(replace(CONFIG, precision=p), discs).network) for p in ("fp32", "bf16"))
    assert not torch.equal(fp32, bf16)
    assert fp32.dtype == bf16.dtype == torch.float32
    assert (fp32 - bf16).abs().max() < 0.01


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_leaves_the_callers_generator_and_threads_as_they_were(variant, discs: Dataset):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    trained(replace(VARIANTS[variant], threads=threads + 1), discs)
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
        trained(config, discs)
    initial = {variant: weights(build_network(config)) for variant, config in VARIANTS.items()}
    assert all(torch.equal(initial[variant], initial["baseline"]) for variant in VARIANTS)
    assert all(order == orders["baseline"] for order in orders.values())
    assert orders["baseline"][0] != orders["baseline"][1]
    assert sorted(orders["baseline"][0]) == list(range(10))


def test_each_variant_differs_from_the_baseline(discs: Dataset):
    ends = {variant: weights(trained(config, discs).network) for variant, config in VARIANTS.items()}
    assert all(not torch.equal(ends[v], ends["baseline"]) for v in VARIANTS if v != "baseline")


def test_streams_of_two_purposes_or_two_seeds_differ():
    streams = {random_stream(seed, purpose) for seed in range(50) for purpose in ("order", "noise", "dropout")}
    assert len(streams) == 150


def test_noise_is_fresh_on_every_batch_of_the_stated_size_and_absent_from_evaluation(discs: Dataset):
    images, masks = tensors(discs.train)
    clean = as_input(images)
    network, seen = build_network(CONFIG), []
    network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
    config = replace(CONFIG, noise_std=0.03, batch_size=10)
    order, noise = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    for _ in range(2):
        train_epoch(network, optimizer, images, masks, config, order, noise)
    added = [batch.sort(dim=0).values - clean.sort(dim=0).values for batch in seen]
    assert not torch.equal(added[0], added[1])
    assert torch.stack([batch.mean() for batch in seen]).sub(clean.mean()).abs().max() < 2e-3
    residual = torch.stack([batch.var() for batch in seen]).mean() - clean.var()
    assert residual.item() == pytest.approx(0.03**2, rel=0.35)
    predict(network, images)
    assert torch.equal(torch.cat(seen[2:]), clean)


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


@pytest.mark.parametrize("p", [0.99999, 0.999995, 0.9999999])
def test_dropout_near_one_drops_nearly_everything(p):
    drawn = SeededDropout(p, torch.Generator().manual_seed(1))(torch.ones(3, 5, 64, 63))
    assert (drawn != 0).double().mean().item() < 1e-3


def test_penalty_is_the_sum_of_squares_of_weights_and_biases():
    network = build_network(CONFIG)
    assert l2_penalty(network).item() == pytest.approx(float((weights(network).double() ** 2).sum()), rel=1e-5)


def test_penalty_in_the_loss_equals_weight_decay_of_twice_the_coefficient(discs: Dataset):
    images, masks = tensors(discs.train)
    network, decayed = build_network(CONFIG), build_network(CONFIG)
    ours = torch.optim.Adam(network.parameters(), lr=1e-3)
    theirs = torch.optim.Adam(decayed.parameters(), lr=1e-3, weight_decay=2 * 0.01)
    for trainee, optimizer, l2 in ((network, ours, 0.01), (decayed, theirs, 0.0)):
        generators = torch.Generator().manual_seed(1), torch.Generator()
        train_epoch(trainee, optimizer, images, masks, replace(CONFIG, l2=l2), *generators)
    torch.testing.assert_close(weights(network), weights(decayed), rtol=1e-3, atol=1e-5)


def test_snapshots_follow_their_interval_and_always_the_last_epoch(discs: Dataset):
    training = trained(replace(CONFIG, epochs=7, snapshot_every=3), discs)
    assert list(training.snapshots) == [3, 6, 7]
    assert len(training.seconds) == 7
    last = training.network.state_dict()
    assert all(torch.equal(training.snapshots[7][name], value) for name, value in last.items())
    assert not torch.equal(training.snapshots[6]["conv2.weight"], last["conv2.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs\n  Input should be greater than 0"),
        ({"l2": -1.0}, "l2\n  Input should be greater than or equal to 0"),
        ({"noise_std": float("nan")}, "noise_std\n  Input should be greater than or equal to 0"),
        ({"learning_rate": 0.0}, "learning_rate\n  Input should be greater than 0"),
        ({"network": "deep"}, "network\n  Input should be 'shallower_CNN_segment', 'dropout_CNN_segment', "),
    ],
)
def test_configuration_refuses_values_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**change)
