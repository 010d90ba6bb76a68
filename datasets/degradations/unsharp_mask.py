"""Unsharp masking as Real-ESRGAN sharpens the pictures that its generator shall make, on the CPU."""

import numpy as np
from numpy.typing import NDArray

TAPS = 51
SIGMA_PX = 8.0
"""What OpenCV takes for 51 taps."""
AMOUNT = 0.5
THRESHOLD = 10 / 255
"""Of the distance to the blurred image; below it the picture counts as flat and is left as it is."""


def sharpen(image: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """H×W×3, uint8 or float32 in [0, 1] → float32 in [0, 1]; `on_device/unsharp_mask.py` is the same on tensors.

    Where the image is far from its blurred self, and softly around there, the distance is increased by half.
    """
    unit = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    detail = unit - _blurred(unit)
    edges = _blurred((np.abs(detail) > THRESHOLD).astype(np.float32))
    return np.asarray(unit + edges * (np.clip(unit + AMOUNT * detail, 0, 1) - unit), np.float32)


def _blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
    import cv2

    blurred = cv2.GaussianBlur(image, (TAPS, TAPS), SIGMA_PX, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)
