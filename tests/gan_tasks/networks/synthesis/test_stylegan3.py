"""StyleGAN3's sampling, its Fourier features and its running averages."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.stylegan2 import StyleMapping
from gan_tasks.networks.synthesis.stylegan3 import (
    FourierInput,
    Magnitude,
    Signal,
    signals_of_layers,
    stylegan3_generator,
    track_magnitudes,
    widths_of_layers,
)


def small_generator(size: tuple[int, int] = (16, 16), layers: int = 4) -> SynthesisGenerator:
    torch.manual_seed(0)
    signals = signals_of_layers(size, layers, margin=4)
    return stylegan3_generator(StyleMapping(5, style=6, layers=2), signals, [4] * layers)


def test_the_sampling_of_the_published_network_of_1024_pixels() -> None:
    signals = signals_of_layers((1024, 1024))
    # Sizes and channels as in the names of the layers of stylegan3-t-ffhq-1024x1024.pkl.
    sizes = [36, 36, 52, 52, 84, 148, 148, 276, 276, 532, 1044, 1044, 1044, 1024, 1024]
    assert [signal.size for signal in signals] == [(size, size) for size in sizes]
    assert widths_of_layers(signals) == [512] * 7 + [323, 203, 128, 81, 51, 32, 32]
    assert [signal.cutoff for signal in signals[-3:]] == [512] * 3
    # All but the last, which are critically sampled, end their band at half the sampling rate.
    assert [(signal.cutoff + signal.half_width) / signal.rate for signal in signals[:-3]] == pytest.approx([0.5] * 12)


@pytest.mark.parametrize("size", [(24, 24), (8, 8), (32, 33), (32, 3)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="a longer side of a power of two"):
        signals_of_layers(size)


def test_more_critical_layers_than_layers_are_refused() -> None:
    with pytest.raises(UserError, match="2 of 2 layers are sampled critically: expected 0 to 1"):
        signals_of_layers((32, 32), 2)


def test_rectangular_images_are_parts_of_square_ones() -> None:
    square = small_generator((16, 16)).eval()
    wide = small_generator((8, 16)).eval()
    wide.load_state_dict(square.state_dict())
    latent = torch.randn(2, 5)
    made = wide(latent)
    assert made.shape == (2, 3, 8, 16)
    # But for the vertical border, whose effect the margin weakens, it is the middle of the square.
    difference = (made - square(latent)[:, :, 4:12]).abs()
    assert difference[:, :, 2:6].max() < 0.2 * made.std()


def test_waves_move_with_the_transform_and_turn_with_the_style() -> None:
    torch.manual_seed(0)
    signal = Signal((20, 20), 16, 2.0, 6.0)
    base = FourierInput(3, 4, signal)
    torch.nn.init.eye_(base.weight)
    style = torch.zeros(1, 4)

    def wave(x: Tensor, y: Tensor) -> Tensor:
        """The waves at a place, in sides of the image from its centre."""
        cycles = base.frequencies @ torch.stack([x, y]) + base.phases
        return torch.sin(2 * math.pi * cycles) / math.sqrt(3)

    def place(column: int, row: int) -> tuple[Tensor, Tensor]:
        return torch.tensor((column - 9.5) / 16), torch.tensor((row - 9.5) / 16)

    x, y = place(4, 13)
    torch.testing.assert_close(base(style)[0, :, 13, 4], wave(x, y), atol=1e-5, rtol=0)
    base.transform[:2, 2] = torch.tensor([0.25, -0.125])
    torch.testing.assert_close(base(style)[0, :, 13, 4], wave(x + 0.25, y - 0.125), atol=1e-5, rtol=0)
    base.transform[:2, 2] = 0
    base.affine.bias.data = torch.tensor([0.0, 2.0, 0.5, 0.0])  # a quarter turn, and a shift
    torch.testing.assert_close(base(style)[0, :, 13, 4], wave(-y, x - 0.5 / 2), atol=1e-5, rtol=0)


def test_waves_beyond_the_band_fade_out() -> None:
    torch.manual_seed(0)
    base = FourierInput(3, 4, Signal((20, 20), 16, 2.0, 6.0))
    torch.nn.init.eye_(base.weight)
    base.transform[:2, :2] *= 100
    assert base(torch.zeros(1, 4)).abs().max() == 0


def test_magnitudes_follow_the_features_of_training() -> None:
    generator = small_generator()
    layers = [layer for layer in generator.modules() if isinstance(layer, Magnitude)]
    assert len(layers) == 5
    latent = torch.randn(3, 5)
    before = generator.eval()(latent)
    track_magnitudes(generator)
    assert all(layer.mean_square == 1 for layer in layers), "features of evaluation are not counted"
    generator.train()(latent)
    seen = [float(layer.latest) for layer in layers if layer.latest is not None]
    track_magnitudes(generator, lambda value: 3 * value, decay=0.75)
    for layer, latest in zip(layers, seen, strict=True):
        assert float(layer.mean_square) == pytest.approx(0.75 + 0.25 * 3 * latest)
    assert not torch.equal(generator.eval()(latent), before)


def test_all_weights_get_a_gradient() -> None:
    generator = small_generator()
    generator(torch.randn(2, 5)).square().sum().backward()
    without = [name for name, weight in generator.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert without == []
