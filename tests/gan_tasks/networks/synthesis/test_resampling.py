"""Resampling with a FIR filter equals its definition, written out pixel by pixel."""

import pytest
import torch
from torch import Tensor

from gan_tasks.networks.synthesis.resampling import (
    Downsample,
    Padding,
    Upsample,
    fir_filter,
    upfirdn,
)


def written_out(x: Tensor, filter: Tensor, up: int, down: int, padding: Padding, gain: float) -> Tensor:
    """Each pixel of the result is the sum over the filter's taps of the pixel that each tap meets."""
    if filter.ndim == 1:
        filter = torch.outer(filter, filter)
    left, right, top, bottom = padding
    height = x.shape[2] * up + top + bottom
    width = x.shape[3] * up + left + right
    rows, columns = filter.shape
    result = x.new_zeros(*x.shape[:2], (height - rows) // down + 1, (width - columns) // down + 1)
    for i in range(result.shape[2]):
        for j in range(result.shape[3]):
            for a in range(rows):
                for b in range(columns):
                    # position in the image with zeros inserted; the filter is mirrored
                    row, column = i * down + rows - 1 - a - top, j * down + columns - 1 - b - left
                    inside = 0 <= row < x.shape[2] * up and 0 <= column < x.shape[3] * up
                    if inside and row % up == 0 and column % up == 0:
                        result[:, :, i, j] += gain * filter[a, b] * x[:, :, row // up, column // up]
    return result


@pytest.mark.parametrize(
    ("up", "down", "padding", "taps", "separable"),
    [
        (1, 1, (0, 0, 0, 0), (1, 2, 4), False),
        (2, 1, (2, 1, 1, 3), (1, 3, 3, 1), False),
        (1, 2, (3, 0, -1, 2), (1, 2, 4, 3, 1), True),
        (4, 1, (2, 5, 4, 1), (1, 0.5, 3, 7, 2, 1), True),
        (3, 2, (1, -1, 0, 2), (1, 2, -1), False),
    ],
)
def test_upfirdn_equals_its_definition(
    up: int, down: int, padding: Padding, taps: tuple[float, ...], separable: bool
) -> None:
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    filter = fir_filter(taps, separable=separable).double()
    result = upfirdn(x, filter, up=up, down=down, padding=padding, gain=1.5)
    assert torch.allclose(result, written_out(x, filter, up, down, padding, 1.5), atol=1e-12)


def test_a_filter_of_two_dimensions_may_have_any_shape() -> None:
    x = torch.randn(1, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    filter = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    result = upfirdn(x, filter, up=2, down=3, padding=(1, 1, 0, 2))
    assert torch.allclose(result, written_out(x, filter, 2, 3, (1, 1, 0, 2), 1), atol=1e-12)


@pytest.mark.parametrize("taps", [(1, 3, 3, 1), (1, 1), (1, 2, 1), (1, 3, 5, 5, 3, 1)])
def test_a_constant_image_stays_as_it_is_when_its_size_changes(taps: tuple[float, ...]) -> None:
    filter = fir_filter(taps)
    x = torch.full((1, 2, 8, 12), 0.7)
    larger, smaller = Upsample(filter)(x), Downsample(filter)(x)
    assert larger.shape == (1, 2, 16, 24)
    assert smaller.shape[-2:] == ((4, 6) if len(taps) % 2 == 0 else smaller.shape[-2:])
    assert torch.allclose(smaller[..., 2:-2, 2:-2], smaller.new_tensor(0.7))
    if len(taps) != 3:  # three taps meet one and two pixels by turns
        assert torch.allclose(larger[..., 4:-4, 4:-4], larger.new_tensor(0.7))


def test_doubling_with_four_taps_is_bilinear_interpolation() -> None:
    x = torch.randn(1, 1, 6, 7, generator=torch.Generator().manual_seed(4))
    bilinear = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    assert torch.allclose(Upsample()(x)[..., 2:-2, 2:-2], bilinear[..., 2:-2, 2:-2], atol=1e-6)
