"""The networks of super-resolution: their published sizes, every scale, any size of image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.discriminators import MultiScaleDiscriminator, UNetDiscriminator
from gan_tasks.networks.super_resolution import (
    LARGEST_RECEPTIVE_FIELD,
    enlargements,
    msr_resnet,
    rrdb,
    srresnet,
    srvgg,
)


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (rrdb, 16_697_987),
        (lambda: rrdb(scale=2, unshuffle=2), 16_703_171),
        (lambda: rrdb(scale=1, unshuffle=4), 16_723_907),
        (lambda: rrdb(blocks=6), 4_467_779),
        (srvgg, 621_424),
        (msr_resnet, 1_517_571),
        (UNetDiscriminator, 4_376_897),
    ],
)
def test_by_default_they_have_as_many_parameters_as_the_published_ones(
    make: Callable[[], nn.Module], parameters: int
) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in make().parameters()) == parameters


SMALL: dict[str, Callable[[int], Generator]] = {
    "rrdb": lambda scale: rrdb(scale=scale, width=4, growth=2, blocks=1),
    "srvgg": lambda scale: srvgg(scale=scale, width=4, convs=2),
    "msr_resnet": lambda scale: msr_resnet(scale=scale, width=4, blocks=2),
    "srresnet": lambda scale: srresnet(scale=scale, width=4, blocks=1),
}


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("name", SMALL)
def test_every_scale_of_any_size(name: str, scale: int) -> None:
    network = SMALL[name](scale).eval()
    for height, width in ((9, 7), (1, 1), (8, 12)):
        assert network(torch.rand(2, 3, height, width)).shape == (2, 3, height * scale, width * scale)


@pytest.mark.parametrize(("scale", "unshuffle"), [(2, 2), (1, 4), (1, 2)])
def test_folded_pixels_take_any_size(scale: int, unshuffle: int) -> None:
    network = rrdb(1, 1, scale=scale, unshuffle=unshuffle, width=4, growth=2, blocks=1)
    for height, width in ((9, 7), (1, 1), (8, 12)):
        assert network(torch.rand(1, 1, height, width)).shape == (1, 1, height * scale, width * scale)


@pytest.mark.parametrize("factor", [0, 5, 6, 12])
def test_other_scales_are_refused(factor: int) -> None:
    with pytest.raises(ValueError, match="grow by 3 or by a power of 2"):
        enlargements(factor)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_farther_than_the_reach_changes_nothing(name: str) -> None:
    """Of networks that do not look as far as LARGEST_RECEPTIVE_FIELD; the gradient says which input pixels matter."""
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
def test_bands_change_nothing(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = SMALL[name](4).eval().double()
    image = torch.rand(2, 3, *size, dtype=torch.double)
    with torch.no_grad():
        whole = network(image)
        network.strip_wise = True
        torch.testing.assert_close(network(image), whole)


def test_the_pixel_discriminator_judges_every_pixel_of_any_size() -> None:
    judge = UNetDiscriminator(3, width=4).eval()
    for height, width in ((8, 8), (33, 47), (64, 24)):
        assert judge(torch.rand(2, 3, height, width))[-1].shape == (2, 1, height, width)
    with pytest.raises(UserError, match="7×9 px, and needs 8"):
        judge(torch.rand(1, 3, 7, 9))


def test_the_pixel_discriminator_stands_at_several_scales() -> None:
    judges = MultiScaleDiscriminator(lambda: UNetDiscriminator(6, width=4), scales=2)
    outputs: list[list[Tensor]] = judges(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))
    assert [layers[-1].shape for layers in outputs] == [(1, 1, 32, 32), (1, 1, 16, 16)]


def test_its_inner_convolutions_have_a_spectral_norm_of_one() -> None:
    judge = UNetDiscriminator(3, width=4)
    for _ in range(30):  # each step in train mode brings the estimate nearer
        judge(torch.rand(1, 3, 8, 8))
    judge.eval()
    for conv in (*judge.downs, *judge.ups, *judge.flat):
        assert isinstance(conv, nn.Conv2d)
        norm = torch.linalg.matrix_norm(conv.weight.flatten(1), 2)
        assert float(norm.detach()) == pytest.approx(1, abs=0.02)
