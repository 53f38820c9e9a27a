import pytest
import torch

from lib import dropout_CNN_segment, shallower_CNN_segment
from lib.models import deeper_CNN_segment, two_dropouts_CNN_segment

NETWORKS = [shallower_CNN_segment, dropout_CNN_segment, two_dropouts_CNN_segment]


@pytest.mark.parametrize("network", NETWORKS)
def test_network_has_the_studys_layers_and_parameters(network):
    shapes = {name: tuple(parameter.shape) for name, parameter in network().named_parameters()}
    assert shapes == {
        "conv1.weight": (16, 3, 3, 3),
        "conv1.bias": (16,),
        "conv2.weight": (50, 16, 3, 3),
        "conv2.bias": (50,),
        "tconv.weight": (50, 1, 4, 4),
        "tconv.bias": (1,),
    }
    assert sum(parameter.numel() for parameter in network().parameters()) == 8499


@pytest.mark.parametrize("network", [*NETWORKS, deeper_CNN_segment])
def test_network_maps_images_to_one_probability_per_pixel(network):
    probabilities = network()(torch.rand(2, 3, 18, 22))  # no multiples of 16
    assert probabilities.shape == (2, 18, 22)
    assert 0 <= probabilities.min() <= probabilities.max() <= 1


def test_weights_of_one_network_load_into_the_other_and_predict_the_same():
    images, trained, loaded = torch.rand(1, 3, 8, 8), shallower_CNN_segment(), dropout_CNN_segment()
    loaded.load_state_dict(trained.state_dict())
    assert torch.equal(trained(images), loaded.eval()(images))


def test_dropout_zeroes_half_of_the_values_before_the_second_convolution_in_training_only():
    network, seen = dropout_CNN_segment(), []
    network.conv2.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network.conv1.bias.fill_(10)  # no zero comes from the activation
        network.train()(torch.rand(1, 3, 64, 64))
        network.eval()(torch.rand(1, 3, 64, 64))
    assert (seen[0] == 0).double().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (seen[1] == 0).sum() == 0


def test_second_dropout_layer_is_behind_the_second_convolution_and_both_zero_a_fifth():
    network, seen = two_dropouts_CNN_segment(), []
    for layer in (network.conv2, network.pool):
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network.conv1.bias.fill_(10)
        network.train()(torch.rand(1, 3, 64, 64))
    assert [round((values == 0).double().mean().item(), 1) for values in seen] == [0.2, 0.2]


def test_deeper_network_is_as_its_docstring_says():
    network = deeper_CNN_segment()
    assert f"{sum(parameter.numel() for parameter in network.parameters()):,} parameters" in network.__doc__
    assert sum("conv" in name for name, _ in network.named_children()) == 8
