"""Compare unsharp masking of arrays and of tensors with a reference implementation in OpenCV."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from numpy.typing import NDArray

from gan_tasks.datasets.degradations import unsharp_mask as on_arrays
from gan_tasks.datasets.degradations.on_device.unsharp_mask import sharpen


def sharpened_tensor(image: NDArray[np.float32]) -> NDArray[np.float32]:
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    return np.asarray(sharpen(tensor)[0].permute(1, 2, 0))


both = pytest.mark.parametrize("sharpened", [on_arrays.sharpen, sharpened_tensor])
Sharpen = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def photo(height: int, width: int) -> NDArray[np.float32]:
    return np.asarray(skimage.data.astronaut()[60 : 60 + height, 170 : 170 + width] / 255, np.float32)


def reference_sharpening(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sharpen with the steps of Real-ESRGAN; with sigma 0 OpenCV chooses sigma for 51 taps."""
    residual = image - cv2.GaussianBlur(image, (51, 51), 0)
    mask = (np.abs(residual) * 255 > 10).astype(np.float32)
    soft_mask = cv2.GaussianBlur(mask, (51, 51), 0)
    return np.asarray(soft_mask * np.clip(image + 0.5 * residual, 0, 1) + (1 - soft_mask) * image)


@both
@pytest.mark.parametrize(("height", "width"), [(120, 90), (64, 64), (40, 25)])
def test_sharpening_matches_real_esrgan(sharpened: Sharpen, height: int, width: int) -> None:
    image = photo(height, width)
    result = sharpened(image)
    assert result.dtype == np.float32 and result.min() >= 0 and result.max() <= 1
    np.testing.assert_allclose(result, reference_sharpening(image), atol=1e-3)
    assert np.abs(result - image).mean() > 0.01


@both
def test_nearly_flat_regions_are_unchanged(sharpened: Sharpen) -> None:
    rng = np.random.default_rng(0)
    image = (0.5 + rng.uniform(-9, 9, (60, 60, 3)) / 255).astype(np.float32)
    np.testing.assert_array_equal(sharpened(image), image)


@both
def test_edges_get_steeper(sharpened: Sharpen) -> None:
    edge = np.full((40, 80, 3), 0.3, np.float32)
    edge[:, 40:] = 0.6
    result = sharpened(edge)
    assert (result[:, 39] < 0.28).all() and (result[:, 40] > 0.62).all()
    np.testing.assert_allclose(result[:, [0, 79]], edge[:, [0, 79]], atol=1e-3)


def test_uint8_equals_float_in_0_to_1() -> None:
    levels = skimage.data.astronaut()[:50, 150:200]
    np.testing.assert_array_equal(on_arrays.sharpen(levels), on_arrays.sharpen((levels / 255).astype(np.float32)))
