"""Equivariance: how images are moved, and which generators move with their input."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.metrics.generators.equivariance import (
    Kind,
    equivariance,
    filtered_as_rotated,
    interpolated,
    periodically_translated,
    psnr_db,
    rotated,
    translated,
)
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.r3gan import Level, r3gan_generator
from gan_tasks.networks.synthesis.stylegan2 import StyleMapping, stylegan2_generator
from gan_tasks.networks.synthesis.stylegan3 import (
    FourierInput,
    Signal,
    signals_of_layers,
    stylegan3_generator,
)


def wave(side: int, x: float = 0.0, y: float = 0.0, angle: float = 0.0) -> Tensor:
    """A wave with eight pixels a period that is moved by (x, y) pixels, and turned with y pointing down."""
    place = torch.arange(side) - (side - 1) / 2
    right, down = place[None, :] - x, place[:, None] - y
    along = right * math.cos(angle) - down * math.sin(angle)
    across = right * math.sin(angle) + down * math.cos(angle)
    return torch.sin(along * 2 * math.pi / 8 + across * 2 * math.pi / 16 + 0.3)[None, None]


def largest_error(made: tuple[Tensor, Tensor], target: Tensor) -> float:
    image, known = made
    return float(((image - target).abs() * known).max())


def test_translated_images() -> None:
    image = wave(24)
    assert largest_error(translated(image, 3.0, -2.0), wave(24, 3, -2)) < 1e-5
    assert translated(image, 3.0, -2.0)[1].sum() == 21 * 22
    assert largest_error(interpolated(image, 1.4, -2.7), wave(24, 1.4, -2.7)) < 0.02
    assert largest_error(interpolated(image, 1.4, -2.7), wave(24, 1, -3)) > 0.3
    # The filter reaches 3 pixels before a place and 2 behind it, and the image is moved by 1 and by -3.
    assert interpolated(image, 1.4, -2.7)[1].sum() == (24 - 4 - 1) * (24 - 0 - 5)


@pytest.mark.parametrize("angle", [0.4, -2.0, math.pi / 2])
def test_rotated_images(angle: float) -> None:
    made = rotated(wave(32), angle)
    assert largest_error(made, wave(32, angle=angle)) < 0.03
    assert largest_error(made, wave(32, angle=-angle)) > 0.5
    assert made[1].sum() > 150
    # What the grid before can represent passes the filter of the comparison.
    assert largest_error(filtered_as_rotated(wave(32), angle), wave(32)) < 0.03


def test_a_rotation_lets_nothing_through_that_the_other_grid_has_not() -> None:
    checkers = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(16, 16)[None, None]
    image, known = rotated(checkers, math.pi / 4)  # its frequency is √½ of a cycle per pixel, along the new x
    assert (image * known).abs().max() < 0.1
    assert (filtered_as_rotated(checkers, math.pi / 4)[0][..., 6:-6, 6:-6]).abs().max() < 0.1


def test_periodic_translation() -> None:
    x = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(periodically_translated(x, 2 / 6, 1 / 4), x.roll((1, 2), (2, 3)))
    place = torch.arange(8.0)
    moved = periodically_translated(torch.sin(place * math.pi / 4).expand(1, 1, 1, 8), 0.1, 0.7)
    torch.testing.assert_close(moved[0, 0, 0], torch.sin((place - 0.8) * math.pi / 4), rtol=0, atol=1e-5)


def test_psnr() -> None:
    assert psnr_db(0.04) == pytest.approx(20)
    assert psnr_db(0) == math.inf


class FromFeatures(nn.Module):
    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return x[:, :3] / x.shape[1]


def waves_alone(side: int) -> SynthesisGenerator:
    """A generator of an image of low waves, which is perfectly equivariant."""
    torch.manual_seed(0)
    mapping = StyleMapping(4, style=4, layers=1)
    base = FourierInput(8, 4, Signal((side, side), side, 2.0, 6.0))
    return SynthesisGenerator(
        mapping=mapping, base=base, stages=[], to_rgb=[FromFeatures()], rgb="last", output_size=(side, side)
    )


def test_a_perfect_generator() -> None:
    generator = waves_alone(32)
    generator.base.transform[0, 2] = 0.1
    found = equivariance(generator, ("eq_t", "eq_t_frac", "eq_r"), images=4)
    assert found["eq_t"] > 100
    assert found["eq_t_frac"] > 50
    assert found["eq_r"] > 50
    assert generator.base.transform[0, 2] == pytest.approx(0.1), "the generator is left as it was"


def test_the_pixels_of_a_generator_without_input_stay() -> None:
    """An image that does not move: its error is that of two different parts of the image."""
    generator = waves_alone(16)
    torch.manual_seed(0)
    noise = torch.rand(1, 8, 16, 16) * 2 - 1
    generator.base.register_forward_hook(lambda module, inputs, features: noise.expand(len(features), -1, -1, -1))
    found = equivariance(generator, ("eq_t",), images=64)
    # The difference of two independent numbers of variance 1/3, over 8: the sum of their variances.
    assert found["eq_t"] == pytest.approx(psnr_db(2 / 3 / 64), abs=1)


def signal_to_error_db(generator: SynthesisGenerator, kind: Kind, images: int = 6) -> float:
    """The equivariance of images that are scaled to a deviation of 1."""
    generator.eval()
    with torch.no_grad():
        deviation = float(generator(torch.randn(8, generator.latent)).std())
    return equivariance(generator, (kind,), images=images, batch_size=2)[kind] + 20 * math.log10(deviation)


def stylegan3(size: int, layers: int, **options: object) -> SynthesisGenerator:
    torch.manual_seed(0)
    signals = signals_of_layers((size, size), layers)
    mapping = StyleMapping(8, style=8, layers=2)
    return stylegan3_generator(mapping, signals, [8] * layers, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["eq_t", "eq_t_frac"])
def test_stylegan3_moves_with_its_input_and_stylegan2_less(kind: Kind) -> None:
    torch.manual_seed(0)
    other = stylegan2_generator((16, 16), StyleMapping(8, style=8, layers=2), [8] * 3)
    better, worse = signal_to_error_db(stylegan3(16, 5), kind), signal_to_error_db(other, kind)
    assert better > worse + 15
    assert better > 35
    assert not other.base._forward_hooks


def test_configuration_r_turns_with_its_input_and_t_does_not() -> None:
    turning = signal_to_error_db(stylegan3(32, 5, kernel=1, radial=True), "eq_r", images=2)
    assert turning > signal_to_error_db(stylegan3(32, 5), "eq_r", images=2) + 15


def test_what_cannot_be_measured_is_refused() -> None:
    torch.manual_seed(0)
    generator = r3gan_generator(4, [Level(4, 1, 1)] * 3, classes=2)
    assert equivariance(generator, images=3, batch_size=2)["eq_t"] < 60
    with pytest.raises(UserError, match="a generator whose input can be rotated"):
        equivariance(generator, ("eq_r",))
    with pytest.raises(UserError, match="16×16 pixels: equivariance needs 24 or more"):
        equivariance(waves_alone(16), ("eq_r",))
