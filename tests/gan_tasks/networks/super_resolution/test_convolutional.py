"""Super-resolution networks: numbers of parameters, scales, image sizes and receptive fields."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, UNetDiscriminator
from gan_tasks.networks.super_resolution.convolutional import (
    LARGEST_RECEPTIVE_FIELD,
    enlargements,
    msr_resnet,
    rrdb,
    srresnet,
    srvgg,
)
from gan_tasks.networks.super_resolution.realplksr import realplksr
from gan_tasks.networks.super_resolution.span import span


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (rrdb, 16_697_987),
        (lambda: rrdb(scale=2, unshuffle=2), 16_703_171),
        (lambda: rrdb(scale=1, unshuffle=4), 16_723_907),
        (lambda: rrdb(blocks=6), 4_467_779),
        (srvgg, 621_424),
        (msr_resnet, 1_517_571),
        (lambda: span(reparameterised=False), 426_288),
        (realplksr, 7_389_680),
        (UNetDiscriminator, 4_376_897),
    ],
)
def test_number_of_parameters_equals_the_published_one(make: Callable[[], nn.Module], parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make().parameters()) == parameters


SMALL: dict[str, Callable[[int], Generator]] = {
    "rrdb": lambda scale: rrdb(scale=scale, width=4, growth=2, blocks=1),
    "srvgg": lambda scale: srvgg(scale=scale, width=4, convs=2),
    "msr_resnet": lambda scale: msr_resnet(scale=scale, width=4, blocks=2),
    "srresnet": lambda scale: srresnet(scale=scale, width=4, blocks=1),
    "span": lambda scale: span(scale=scale, width=4, blocks=2),
    "realplksr": lambda scale: realplksr(scale=scale, width=4, blocks=2, kernel=9),
}


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", SMALL)
def test_every_scale_takes_any_size(name: str, scale: int) -> None:
    network = SMALL[name](scale).eval()
    for height, width in ((9, 7), (1, 1), (8, 12)):
        assert network(torch.rand(2, 3, height, width)).shape == (2, 3, height * scale, width * scale)


@pytest.mark.parametrize(("scale", "unshuffle"), [(2, 2), (1, 4), (1, 2)])
def test_pixel_unshuffle_takes_any_size(scale: int, unshuffle: int) -> None:
    network = rrdb(1, 1, scale=scale, unshuffle=unshuffle, width=4, growth=2, blocks=1)
    for height, width in ((9, 7), (1, 1), (8, 12)):
        assert network(torch.rand(1, 1, height, width)).shape == (1, 1, height * scale, width * scale)


@pytest.mark.parametrize("factor", [0, 5, 6, 12])
def test_unsupported_upsampling_factors_are_refused(factor: int) -> None:
    with pytest.raises(ValueError, match="must be 3 or a power of 2"):
        enlargements(factor)


@pytest.mark.parametrize("name", SMALL)
def test_pixels_outside_the_receptive_field_have_no_effect(name: str) -> None:
    """For networks smaller than LARGEST_RECEPTIVE_FIELD; the gradient shows which input pixels have an effect."""
    network = SMALL[name](4).eval().double()
    assert network.receptive_field < LARGEST_RECEPTIVE_FIELD
    side = 2 * network.receptive_field + 5
    image = torch.rand(1, 3, side, side, dtype=torch.double, requires_grad=True)
    middle = network.scale * (side // 2) + network.scale // 2
    network(image)[0, :, middle, middle].sum().backward()
    assert image.grad is not None
    rows = image.grad[0].abs().sum((0, 2)).nonzero().flatten()
    assert side // 2 - int(rows.min()) <= network.receptive_field
    assert int(rows.max()) - side // 2 <= network.receptive_field


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(1, 1), (16, 5), (17, 9), (150, 4)])
def test_strip_wise_output_is_the_same(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = SMALL[name](4).eval().double()
    image = torch.rand(2, 3, *size, dtype=torch.double)
    with torch.no_grad():
        whole = network(image)
        network.strip_wise = True
        torch.testing.assert_close(network(image), whole)


def test_unet_discriminator_gives_a_logit_per_pixel_for_any_size() -> None:
    discriminator = UNetDiscriminator(3, width=4).eval()
    for height, width in ((8, 8), (33, 47), (64, 24)):
        assert discriminator(torch.rand(2, 3, height, width))[-1].shape == (2, 1, height, width)
    with pytest.raises(UserError, match="7×9 px, and needs 8"):
        discriminator(torch.rand(1, 3, 7, 9))


def test_unet_discriminator_works_at_several_scales() -> None:
    discriminator = MultiScaleDiscriminator(lambda: UNetDiscriminator(6, width=4), scales=2)
    outputs: list[list[Tensor]] = discriminator(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    assert [layers[-1].shape for layers in outputs] == [(1, 1, 32, 32), (1, 1, 16, 16)]


def test_inner_convolutions_of_the_unet_discriminator_have_a_spectral_norm_of_one() -> None:
    discriminator = UNetDiscriminator(3, width=4)
    for _ in range(30):  # each call in train mode improves the estimate
        discriminator(torch.rand(1, 3, 8, 8))
    discriminator.eval()
    for conv in (*discriminator.downs, *discriminator.ups, *discriminator.flat):
        assert isinstance(conv, nn.Conv2d)
        norm = torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
        assert float(norm.detach()) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("width", [16, 64])
def test_a_compact_network_starts_near_the_upsampled_input(width: int) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        network = srvgg(width=width)
        x = torch.rand(1, 3, 16, 16) * 2 - 1
        with torch.no_grad():
            assert (network(x) - nn.functional.interpolate(x, scale_factor=4)).square().mean().sqrt() < 0.2


def test_the_gradient_of_a_compact_network_does_not_vanish_over_the_chain() -> None:
    """With PyTorch's own initial weights it is smaller by a million, and a training stays at the upsampled input."""
    torch.manual_seed(0)
    network = srvgg(width=16)
    network(torch.rand(2, 3, 16, 16) * 2 - 1).abs().mean().backward()
    first, last = (network.get_parameter(f"{part}.0.weight").grad for part in ("stem", "head"))
    assert first is not None and last is not None
    assert first.norm() > 1e-2 * last.norm()
