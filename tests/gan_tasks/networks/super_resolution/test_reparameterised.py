"""Reparameterised convolutions: equal to their parts in a row, in outputs and gradients, fused or not."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.super_resolution.reparameterised import ReparameterisedConv, fuse, one_convolution
from gan_tasks.networks.super_resolution.span import span


def in_a_row(conv: ReparameterisedConv, x: Tensor) -> Tensor:
    """The published training form: the image is padded first, so that the first bias is in the border too."""
    first, second, third = conv.row
    wide = first(functional.pad(x, (1, 1, 1, 1)))
    y = third(functional.conv2d(wide, second.weight, second.bias))
    return y + functional.conv2d(x, conv.skip.weight, conv.skip.bias)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("inputs", "outputs", "expansion"), [(3, 8, 2), (5, 2, 1), (1, 4, 3)])
def test_it_equals_its_parts_and_the_fused_convolution(
    inputs: int, outputs: int, expansion: int, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    conv = ReparameterisedConv(inputs, outputs, expansion=expansion).to(dtype)
    x = torch.rand(2, inputs, 6, 5, dtype=dtype)
    expected = in_a_row(conv, x)
    assert expected.std() > 0.05
    torch.testing.assert_close(conv(x), expected, rtol=0, atol=tolerance)
    torch.testing.assert_close(one_convolution(conv)(x), expected, rtol=0, atol=tolerance)


def test_every_part_learns_as_in_a_row() -> None:
    torch.manual_seed(0)
    conv = ReparameterisedConv(3, 4).double()
    x = torch.rand(2, 3, 6, 5, dtype=torch.double)
    parameters = list(conv.parameters())
    found = torch.autograd.grad(conv(x).square().sum(), parameters)
    expected = torch.autograd.grad(in_a_row(conv, x).square().sum(), parameters)
    assert len(found) == 8 and all(gradient.any() for gradient in found)
    torch.testing.assert_close(found, expected)


def test_fusing_a_network_keeps_its_output_and_leaves_a_quarter_of_its_weights() -> None:
    torch.manual_seed(0)
    network = span(scale=2, width=8, blocks=2).double().eval()
    alone = copy.deepcopy(network)
    fuse(alone)
    assert not any(isinstance(part, ReparameterisedConv) for part in alone.modules())
    assert any(isinstance(part, ReparameterisedConv) for part in network.modules())
    x = torch.rand(1, 3, 9, 7, dtype=torch.double)
    torch.testing.assert_close(alone(x), network(x), rtol=0, atol=1e-10)
    counts = [sum(weight.numel() for weight in each.parameters()) for each in (alone, network)]
    assert counts[0] < 0.27 * counts[1]
    plain = span(scale=2, width=8, blocks=2, reparameterised=False)
    assert list(plain.state_dict()) == list(alone.state_dict())


def test_the_weights_are_multiplied_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    conv = ReparameterisedConv(8, 8)
    expected = conv.kernel()
    with torch.autocast("cpu", torch.bfloat16):
        assert all(torch.equal(one, other) for one, other in zip(conv.kernel(), expected, strict=True))
        assert conv(torch.rand(1, 8, 4, 4)).dtype == torch.bfloat16


def test_only_rgb_images_are_normalised() -> None:
    with pytest.raises(ValueError, match="1 channels: only RGB"):
        span(1, 1, width=4, blocks=1)
    network = span(1, 1, width=4, blocks=1, normalised=False)
    assert isinstance(network.stem, nn.Sequential)
    x = torch.rand(1, 1, 3, 4)
    assert torch.equal(network.stem[0](x), x)
