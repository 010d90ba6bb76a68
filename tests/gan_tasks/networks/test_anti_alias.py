"""Anti-aliased change of size, and networks that use it."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.anti_alias import blur_downsample
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import PatchDiscriminator
from gan_tasks.networks.translation import resnet, translation_generator


@pytest.mark.parametrize("size", [(8, 6), (7, 9), (2, 3)])
def test_the_blur_is_the_binomial_filter_at_every_other_pixel(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    row = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64) / 4
    kernel = (row[:, None] * row).repeat(3, 1, 1, 1)
    expected = functional.conv2d(functional.pad(x, (1, 1, 1, 1), "reflect"), kernel, stride=2, groups=3)
    torch.testing.assert_close(blur_downsample()(x), expected)


def test_a_shift_by_a_pixel_changes_anti_aliased_features_less() -> None:
    x = torch.zeros(1, 1, 16, 16)
    x[..., ::2] = 1  # the finest stripes
    shifted = x.roll(1, dims=3)
    inner = (..., slice(2, -2), slice(2, -2))
    blurred = (blur_downsample()(x) - blur_downsample()(shifted))[inner].abs().max()
    assert blurred < 1e-6
    assert (x[..., ::2, ::2] - shifted[..., ::2, ::2])[inner].abs().min() == 1, "what a stride of 2 alone gives"


@pytest.mark.parametrize("layers", [1, 3])
def test_the_smallest_input_of_an_anti_aliased_discriminator(layers: int) -> None:
    d = PatchDiscriminator(3, width=2, layers=layers, norm="none", anti_alias=True)
    size = d.minimum_size
    assert d(torch.rand(1, 3, size, size))[-1].shape == (1, 1, 1, 1)
    with pytest.raises(UserError, match=f"needs {size} or more"):
        d(torch.rand(1, 3, size - 1, size))


def test_a_u_net_does_not_blur() -> None:
    with pytest.raises(UserError, match="leave --anti-alias out"):
        translation_generator(
            "unet-128", 3, 3, width=4, norm="batch", dropout=False, upsampling="transposed", anti_alias=True
        )


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return resnet(3, 3, width=4, blocks=3, norm="none", anti_alias=True, upsampling="bilinear")


def test_the_encoder_gives_the_outputs_of_its_layers(generator: Generator) -> None:
    x = torch.rand(2, 3, 13, 18) - 0.5
    y = functional.pad(x, (0, 2, 0, 3), "reflect")
    expected = []
    for layer in generator.encoder_layers():
        y = layer(y)
        expected.append(y.clone())
    assert len(expected) == 4 + 2 * 4 + 3
    layers = (0, 1, 2, 7, 8, 13)
    for layer, features in zip(layers, list(generator.encode(x, layers)), strict=True):
        torch.testing.assert_close(features, expected[layer])


def test_recomputed_encoder_features_have_the_same_gradient(generator: Generator) -> None:
    gradients = []
    for generator.recompute in (False, True):
        x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)).requires_grad_()
        sum(features[..., 3, :].square().sum() for features in generator.encode(x, (0, 4, 5, 12))).backward()
        weights = [p.grad for p in (x, *generator.parameters()) if p.grad is not None]
        gradients.append([weight.clone() for weight in weights])
        generator.zero_grad(set_to_none=True)
    assert len(gradients[0]) > 10
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_the_encoder_stops_at_the_last_layer(generator: Generator) -> None:
    generator.body = nn.Sequential(*generator.body, Refuses())
    assert len(list(generator.encode(torch.rand(1, 3, 16, 16), (4, 14)))) == 2


class Refuses(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("a layer that is not needed")
