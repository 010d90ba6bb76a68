"""The smooth fill against the harmonic fill, and general properties of such fills."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import photo
from torch import Tensor

from gan_tasks.datasets.masks.draw import MaskConfig, draw_mask
from gan_tasks.metrics.baselines import fill_harmonic
from gan_tasks.networks.inpainting.push_pull import SmoothFill

FILL = SmoothFill()


def photograph(height: int, width: int) -> Tensor:
    return torch.from_numpy(photo(height, width, 0)).movedim(-1, 0)[None].float() / 127.5 - 1


def drawn_mask(height: int, width: int, seed: int = 0) -> Tensor:
    drawn = draw_mask(np.random.default_rng(seed), height, width, MaskConfig())
    return torch.from_numpy(drawn)[None, None].float()


@pytest.mark.parametrize("seed", range(3))
def test_fill_is_close_to_the_harmonic_fill(seed: int) -> None:
    image, mask = photograph(192, 256), drawn_mask(192, 256, seed)
    exact = torch.from_numpy(fill_harmonic(image[0].movedim(0, -1).numpy(), mask[0, 0].numpy() > 0)).movedim(-1, 0)
    where = (mask > 0).expand_as(image)
    mean = image[~where].mean()
    error = (FILL(image, mask)[where] - exact[None][where]).square().mean().sqrt()
    assert error < 0.15 * (mean - exact[None][where]).square().mean().sqrt()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 2**16))
def test_unmasked_pixels_stay_and_bound_the_filled_ones(rows: int, columns: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    size = (8 * rows, 8 * columns)
    image = torch.rand(1, 3, *size, generator=random) * 2 - 1
    mask = (torch.rand(1, 1, *size, generator=random) < 0.7).float()
    known = (mask == 0).expand_as(image)
    filled = FILL(image, mask)
    assert torch.equal(filled[known], image[known])
    assert torch.equal(filled, FILL(torch.where(known, image, 0.3), mask)), "masked pixels have an effect"
    for channel in range(3):
        unmasked = image[:, channel][known[:, channel]]
        if len(unmasked):
            assert filled[:, channel].min() >= unmasked.min() - 1e-5
            assert filled[:, channel].max() <= unmasked.max() + 1e-5


def test_a_uniform_image_is_continued_over_any_distance() -> None:
    mask = torch.ones(1, 1, 64, 1024)
    mask[..., :4] = 0
    torch.testing.assert_close(FILL(torch.full((1, 3, 64, 1024), 0.4), mask), torch.full((1, 3, 64, 1024), 0.4))


def test_a_full_mask_gives_gray() -> None:
    assert FILL(torch.rand(1, 3, 16, 24), torch.ones(1, 1, 16, 24)).abs().max() == 0


def test_a_batch_equals_its_samples_one_by_one() -> None:
    image = photograph(64, 96).repeat(2, 1, 1, 1)
    mask = torch.cat([drawn_mask(64, 96, seed) for seed in (1, 2)])
    alone = torch.cat([FILL(image[i : i + 1], mask[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(FILL(image, mask), alone, rtol=0, atol=1e-6)


def test_fill_is_computed_in_float32_under_autocast() -> None:
    image, mask = photograph(64, 64), drawn_mask(64, 64)
    expected = FILL(image, mask)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(FILL(image, mask), expected)
