"""Unsharp masking of arrays, as Real-ESRGAN sharpens its training targets.

https://arxiv.org/abs/2107.10833, section 3.3
"""

import numpy as np
from numpy.typing import NDArray

TAPS = 51
"""Length of the blur kernel, in pixels."""
SIGMA_PX = 8.0
"""Standard deviation that OpenCV chooses for 51 taps."""
AMOUNT = 0.5
"""Fraction of the difference to the blurred image that is added."""
THRESHOLD = 10 / 255
"""Absolute difference to the blurred image, in [0, 1], up to which a pixel counts as flat and is not sharpened."""


def sharpen(image: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Sharpen H×W×3, uint8 or float32 in [0, 1]; return float32 in [0, 1]. `on_device/unsharp_mask.py` takes tensors.

    Where the image differs from its blurred copy by more than THRESHOLD, the difference is increased by half. The
    edges of this region are blurred.
    """
    unit = image.astype(np.float32) / np.float32(255) if image.dtype == np.uint8 else image.astype(np.float32)
    detail = unit - _blurred(unit)
    edges = _blurred((np.abs(detail) > THRESHOLD).astype(np.float32))
    return np.asarray(unit + edges * (np.clip(unit + AMOUNT * detail, 0, 1) - unit), np.float32)


def _blurred(image: NDArray[np.float32]) -> NDArray[np.float32]:
    import cv2

    blurred = cv2.GaussianBlur(image, (TAPS, TAPS), SIGMA_PX, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(blurred, np.float32)
