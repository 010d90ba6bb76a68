"""The perceptual path length against closed forms: of linear generators, and of arcs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gan_tasks.datasets.images import Pixels, to_float
from gan_tasks.metrics.features import FeatureNetwork
from gan_tasks.metrics.generators.path_length import by_features, lerp, path_lengths, slerp, without_outliers


def squared(first: Tensor, second: Tensor) -> Tensor:
    return (first - second).double().square().flatten(1).sum(dim=1)


@pytest.mark.parametrize("epsilon", [1e-4, 1e-2])
def test_a_linear_generator_has_the_same_path_length_for_every_step(epsilon: float) -> None:
    """G(w) = A·w gives |A (w₂ - w₁)|² on the line from w₁ to w₂."""
    torch.manual_seed(0)
    matrix, (start, end) = torch.randn(12, 5), torch.randn(2, 7, 5)
    found = path_lengths(start, end, lambda w: w @ matrix.T, squared, spherical=False, epsilon=epsilon)
    assert torch.allclose(found, squared(start @ matrix.T, end @ matrix.T), rtol=5e-3)


def test_the_identity_has_the_squared_angle_on_an_arc() -> None:
    torch.manual_seed(0)
    start, end = nn.functional.normalize(torch.randn(2, 9, 6), dim=2) * 3
    angle = (start * end).sum(dim=1).div(9).acos()
    found = path_lengths(start, end, lambda z: z, squared, spherical=True)
    assert torch.allclose(found, (3 * angle.double()) ** 2, rtol=5e-3)


def test_an_arc_begins_and_ends_where_it_should() -> None:
    torch.manual_seed(0)
    start, end = torch.randn(2, 4, 8, dtype=torch.float64)
    for between in (slerp, lerp):
        assert torch.allclose(between(start, end, 0), start) and torch.allclose(between(start, end, 1), end)
    right = slerp(torch.tensor([[2.0, 0, 0]]), torch.tensor([[0, 2.0, 0]]), 0.5)
    assert torch.allclose(right, torch.tensor([[math.sqrt(2), math.sqrt(2), 0]]))


def test_a_collapsed_generator_has_a_path_length_of_0() -> None:
    start, end = torch.randn(2, 3, 8)
    assert path_lengths(start, end, torch.zeros_like, squared, spherical=True).tolist() == [0, 0, 0]


def test_the_largest_and_smallest_values_are_left_out() -> None:
    values = np.array([1e9, *np.linspace(1, 2, 198), -1e9])
    kept = without_outliers(values)
    assert kept.min() >= 1 and kept.max() <= 2 and len(kept) == 198
    assert without_outliers(np.array([3.0])).tolist() == [3.0]


class Linear(nn.Module):
    """Features that are pixels, with some weights."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(3, 16, 16), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        return (self.gain * images).flatten(1)


def test_features_are_compared_without_rounding_to_levels_and_by_direction() -> None:
    def prepare(pixels: Pixels) -> Tensor:
        return torch.from_numpy(to_float(np.resize(pixels, (16, 16, 3))))

    torch.manual_seed(0)
    network = FeatureNetwork("linear", Linear(), prepare)
    images, step = torch.rand(2, 3, 16, 16) - 0.5, 1e-4 * torch.randn(2, 3, 16, 16)
    a, b = (nn.functional.normalize(network.module(each).double(), dim=1) for each in (images, images + step))
    found = by_features(network)(images, images + step)
    assert (found > 0).all() and torch.allclose(found, (a - b).square().sum(dim=1), rtol=1e-3)
    gray = by_features(network)(images[:, :1], images[:, :1] + step[:, :1])
    assert gray.shape == (2,) and (gray > 0).all()
