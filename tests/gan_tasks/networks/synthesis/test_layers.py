"""Equalised layers, pixel norm and minibatch deviation equal their definitions."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from gan_tasks.networks.synthesis.layers import EqualisedConv2d, EqualisedLinear, MinibatchDeviation, pixel_norm

DOUBLE = torch.float64


def test_equalised_layers_have_outputs_of_unit_variance() -> None:
    torch.manual_seed(0)
    conv = EqualisedConv2d(64, 32, 3).double()
    linear = EqualisedLinear(512, 64, lr_multiplier=0.01).double()
    assert conv(torch.randn(8, 64, 12, 12, dtype=DOUBLE)).std().item() == pytest.approx(1, abs=0.1)
    assert linear(torch.randn(64, 512, dtype=DOUBLE)).std().item() == pytest.approx(1, abs=0.1)


def test_equalised_linear_multiplies_weight_and_bias() -> None:
    layer = EqualisedLinear(6, 4, gain=3.0, lr_multiplier=0.5, bias_init=2.0).double()
    x = torch.randn(5, 6, dtype=DOUBLE)
    assert layer.weight.std() > 1, "the weight is stored divided by the multiplier of the learning rate"
    expected = x @ (layer.weight * 3.0 * 0.5 / math.sqrt(6)).T + 1.0
    assert torch.allclose(layer(x), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_published_form_of_pggan_multiplies_the_output(bias: bool) -> None:
    layer = EqualisedConv2d(3, 5, 3, padding=1, gain=math.sqrt(2), scales_bias=True, bias=bias).double()
    if layer.bias is not None:
        torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 4, 4, dtype=DOUBLE)
    published = functional.conv2d(x, layer.weight, layer.bias, padding=1) * math.sqrt(2 / 27)
    assert torch.allclose(layer(x), published)


def test_pixel_norm() -> None:
    x = torch.randn(2, 5, 3, 4, dtype=DOUBLE)
    expected = torch.stack([x[:, :, i, j] for i in range(3) for j in range(4)], -1)
    expected = expected / expected.square().mean(1, keepdim=True).add(1e-8).sqrt()
    assert torch.allclose(pixel_norm(x), expected.view_as(x))
    assert torch.allclose(pixel_norm(x[:, :, 0, 0]), expected[:, :, 0])
    assert pixel_norm(x.bfloat16()).dtype == torch.bfloat16


def deviation_of(group: Tensor, *, unbiased: bool) -> float:
    """The definition, image by image: the mean over the features of √(variance + 1e-8)."""
    count, values = len(group), group.flatten(1).T.tolist()
    total = 0.0
    for value in values:
        mean = sum(value) / count
        squares = sum((each - mean) ** 2 for each in value)
        total += math.sqrt(squares / (count - 1 if unbiased else count) + 1e-8)
    return total / len(values)


@pytest.mark.parametrize("count, size", [(8, 4), (4, 4), (3, 3), (6, 6)])
@pytest.mark.parametrize("channels", [1, 2])
def test_minibatch_deviation_of_stylegan2_takes_strided_groups(count: int, size: int, channels: int) -> None:
    x = torch.randn(count, 6, 2, 3, dtype=DOUBLE)
    y = MinibatchDeviation(4, channels=channels)(x)
    assert torch.equal(y[:, :6], x) and y.shape == (count, 6 + channels, 2, 3)
    for image in range(count):
        group = x[image % (count // size) :: count // size]
        for channel, features in enumerate(group.chunk(channels, dim=1)):
            expected = torch.full((2, 3), deviation_of(features, unbiased=False), dtype=DOUBLE)
            assert torch.allclose(y[image, 6 + channel], expected)


@pytest.mark.parametrize("count, size", [(8, 4), (4, 4), (3, 3), (6, 6)])
def test_minibatch_deviation_of_pggan_takes_neighbours(count: int, size: int) -> None:
    x = torch.randn(count, 5, 2, 3, dtype=DOUBLE)
    y = MinibatchDeviation(4, neighbours=True, unbiased=True)(x)
    for image in range(count):
        first = image // size * size
        expected = deviation_of(x[first : first + size], unbiased=True)
        assert torch.allclose(y[image, 5], torch.full((2, 3), expected, dtype=DOUBLE))


def test_minibatch_deviation_of_one_image_is_finite() -> None:
    x = torch.randn(1, 4, 2, 2, dtype=DOUBLE, requires_grad=True)
    y = MinibatchDeviation(neighbours=True, unbiased=True)(x)
    y.square().sum().backward()
    assert (y[:, 4] == 0).all() and x.grad is not None and torch.equal(x.grad, 2 * x.detach())
