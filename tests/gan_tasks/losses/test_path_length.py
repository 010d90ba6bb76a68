"""Path-length regularisation against the closed form of a linear generator and finite differences."""

from __future__ import annotations

import pytest
import torch
from fake_step import FakeStage, FakeStep
from torch import Tensor, nn

from gan_tasks.losses.adaptive import PATH_LENGTH
from gan_tasks.losses.path_length import (
    PathLengthConfig,
    path_length_is_due,
    path_length_objective,
    path_lengths,
    updated_mean,
)

SHAPE = (3, 4, 6)
"""Channels, height and width of the images."""


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_lengths_of_a_linear_generator_are_known() -> None:
    """For G(w) = Σ_l A_l w_l, the length is ‖(A_lᵀ y)_l‖ over √L, with y the noise over the root of the pixels."""
    matrices, styles, noise = drawn(0, 72, 2, 5), drawn(1, 3, 2, 5).requires_grad_(), drawn(2, 3, *SHAPE)
    image = torch.einsum("pld,nld->np", matrices, styles).view(3, *SHAPE)
    y = noise.flatten(1) / 24**0.5
    expected = [(sum((matrices[:, layer].T @ each).square().sum() for layer in range(2)) / 2).sqrt() for each in y]
    torch.testing.assert_close(path_lengths(image, styles, noise), torch.stack(expected))


def test_lengths_of_a_curved_generator_are_those_of_finite_differences() -> None:
    matrix, styles, noise, tiny = drawn(0, 72, 5), drawn(1, 1, 1, 5).requires_grad_(), drawn(2, 1, *SHAPE), 1e-6

    def synthesize(w: Tensor) -> Tensor:
        return torch.tanh(w[:, 0] @ matrix.T).view(-1, *SHAPE)

    slopes = []
    for axis in range(5):
        step = torch.zeros(1, 1, 5, dtype=torch.float64)
        step[..., axis] = tiny
        change = (synthesize(styles + step) - synthesize(styles - step)) / (2 * tiny)
        slopes.append((change * noise / 24**0.5).sum())
    torch.testing.assert_close(
        path_lengths(synthesize(styles), styles, noise)[0], torch.stack(slopes).norm(), rtol=1e-6, atol=0
    )


def test_the_mean_follows_the_lengths_slowly_and_without_gradient() -> None:
    first = updated_mean(None, torch.tensor(50.0, requires_grad=True))
    assert first.item() == pytest.approx(0.5) and not first.requires_grad
    assert updated_mean(first, torch.tensor(50.0)).item() == pytest.approx(0.5 + 0.01 * 49.5)


class Scaled(nn.Module):
    """A generator whose lengths are proportional to its one weight."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(gain, dtype=torch.float64))

    def forward(self, styles: Tensor) -> Tensor:
        return (self.gain * styles[:, 0])[:, :, None, None].expand(-1, -1, 2, 2)


class NoiseOfOnes(FakeStep):
    def random(self, batch_size: int, *shape: int, device: torch.device, normal: bool = False) -> Tensor:
        assert normal
        return torch.ones(batch_size, *shape, dtype=torch.float64)


def test_the_objective_is_the_weighted_penalty_times_the_interval_and_has_a_gradient() -> None:
    """With y = 1/2 at each of 4 pixels, the length is gain · 2 · √3 for 3 channels."""
    config, step, generator = PathLengthConfig(path_length=2.0, path_length_interval=4), NoiseOfOnes(), Scaled(1.5)
    step.adaptive[PATH_LENGTH] = torch.tensor(4.0, dtype=torch.float64)
    penalty, log = path_length_objective(step, config, generator, drawn(0, 2, 1, 3))
    length = 1.5 * 2 * 3**0.5
    mean = 4.0 + 0.01 * (length - 4.0)
    assert log["g/path_length_mean"].item() == pytest.approx(length)
    assert step.adaptive[PATH_LENGTH].item() == pytest.approx(mean)
    assert penalty.item() == pytest.approx(2 * 4 * (length - mean) ** 2)
    penalty.backward()
    assert generator.gain.grad is not None
    assert generator.gain.grad.item() == pytest.approx(2 * 4 * 2 * (length - mean) * 2 * 3**0.5)


def test_the_penalty_is_lazy_and_off_without_a_weight() -> None:
    config = PathLengthConfig(path_length=2.0, path_length_interval=3)
    assert [path_length_is_due(FakeStep(index), config) for index in range(5)] == [True, False, False, True, False]
    assert not path_length_is_due(FakeStep(), PathLengthConfig())
    every_second = [path_length_is_due(FakeStep(index, stage=FakeStage(2)), config) for index in range(0, 14, 2)]
    assert every_second == [True, False, False, True, False, False, True]  # counted in updates of the generator
