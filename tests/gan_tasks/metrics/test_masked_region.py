"""Metrics over the masked region: closed forms, and agreement with the whole-image metrics for a full mask."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gan_tasks.metrics import reference
from gan_tasks.metrics.masked_region import masked_metrics


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@given(st.floats(0.01, 2), st.integers(0, 99), st.floats(0.05, 0.95))
def test_constant_difference_in_the_mask(difference: float, seed: int, ratio: float) -> None:
    """L1 is d/2, as it is scaled to [0, 1], and PSNR is 20·log10(2/d) dB, whatever the unmasked pixels are."""
    target = drawn(seed, 2, 3, 12, 14)
    mask = drawn(seed + 1, 2, 1, 12, 14) < 2 * ratio - 1
    mask[..., 6, 7] = True
    image = torch.where(mask, target + difference, drawn(seed + 2, 2, 3, 12, 14))
    found = masked_metrics(image, target, mask)
    assert found["l1_masked"].tolist() == pytest.approx([difference / 2] * 2, rel=1e-4)
    assert found["psnr_masked"].tolist() == pytest.approx([20 * math.log10(2 / difference)] * 2, abs=1e-3)


def test_each_image_has_its_own_mask() -> None:
    target, image = drawn(0, 2, 3, 20, 16), drawn(1, 2, 3, 20, 16)
    mask = drawn(2, 2, 1, 20, 16) < torch.tensor([-0.5, 0.5]).view(2, 1, 1, 1)
    found = masked_metrics(image, target, mask)
    for index in range(2):
        differences = (image - target)[index].numpy().astype(np.float64)[:, mask[index, 0].numpy()]
        assert float(found["l1_masked"][index]) == pytest.approx(np.abs(differences).mean() / 2, rel=1e-5)
        expected = 10 * np.log10(4 / np.square(differences).mean())
        assert float(found["psnr_masked"][index]) == pytest.approx(expected, rel=1e-5)
        similarity = reference.ssim_map(image, target)[index].numpy()[:, mask[index, 0, 5:-5, 5:-5].numpy()]
        assert float(found["ssim_masked"][index]) == pytest.approx(similarity.mean(), rel=1e-4)


@pytest.mark.parametrize("border_px", [0, 3])
def test_full_mask_gives_the_metrics_of_the_whole_image(border_px: int) -> None:
    target, image = drawn(0, 2, 3, 24, 19), drawn(1, 2, 3, 24, 19)
    found = masked_metrics(image, target, torch.ones(2, 1, 24, 19, dtype=torch.bool), border_px=border_px)
    expected = reference.full_reference(image, target, border_px=border_px)
    for name in ("l1", "psnr", "ssim"):
        torch.testing.assert_close(found[f"{name}_masked"], expected[f"{name}_rgb"])


def test_empty_mask_gives_nan_without_a_warning() -> None:
    target, image = drawn(0, 1, 3, 24, 19), drawn(1, 1, 3, 24, 19)
    mask = torch.zeros(1, 1, 24, 19, dtype=torch.bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert all(math.isnan(float(value)) for value in masked_metrics(image, target, mask).values())
        mask[..., :2, :2] = True  # no window has its centre within 5 px of the border
        found = masked_metrics(image, target, mask)
        assert math.isnan(float(found["ssim_masked"])) and not math.isnan(float(found["l1_masked"]))
        small = masked_metrics(image[..., :8, :8], target[..., :8, :8], mask[..., :8, :8])
        assert math.isnan(float(small["ssim_masked"])) and not math.isnan(float(small["psnr_masked"]))


def test_exact_fill_has_the_best_l1_and_psnr() -> None:
    target = drawn(0, 1, 1, 24, 19)
    mask = drawn(1, 1, 1, 24, 19) < 0
    found = masked_metrics(torch.where(mask, target, -target), target, mask)
    assert float(found["l1_masked"]) == 0 and float(found["psnr_masked"]) == math.inf
    assert float(found["ssim_masked"]) < 1  # its windows include unmasked pixels


def test_sizes_that_differ_are_refused() -> None:
    image = drawn(0, 1, 3, 24, 19)
    with pytest.raises(ValueError, match="mask of"):
        masked_metrics(image, image, torch.ones(1, 1, 19, 24, dtype=torch.bool))
    with pytest.raises(ValueError, match="11 px"):
        reference.ssim_map(image[..., :10, :], image[..., :10, :])
