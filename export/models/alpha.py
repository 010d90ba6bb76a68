"""Alpha of images for networks without alpha, and the colours of transparent pixels. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import Pixels


def split_alpha(image: Pixels, channels: int) -> tuple[Pixels, Pixels | None]:
    """Split gray+alpha or RGBA pixels into colour and alpha, if the network takes no alpha."""
    if image.shape[2] in (2, 4) and channels in (1, 3):
        return image[..., :-1], image[..., -1:]
    return image, None


def spread_colour(colour: Pixels, alpha: Pixels) -> Pixels:
    """Fill fully transparent pixels with the mean of visible colours nearby; H×W×C and H×W×1 integers.

    This is push-pull interpolation (Gortler et al. 1996): each pixel takes the mean of the smallest block of 2×2,
    4×4, … pixels around it that has a visible pixel. Visible pixels are not changed.
    """
    hidden = alpha[..., 0] == 0
    if not hidden.any() or hidden.all():
        return colour
    filled = colour.copy()
    filled[hidden] = np.rint(pulled(colour.astype(np.float32), ~hidden)[hidden]).astype(colour.dtype)
    return filled


def pulled(colour: NDArray[np.float32], visible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Replace invisible colours by those of the next level, which has half the size. One pixel must be visible."""
    if visible.all():
        return colour
    height, width = visible.shape
    sums = np.zeros((-(-height // 2), -(-width // 2), colour.shape[2]), np.float32)
    counts = np.zeros(sums.shape[:2], np.float32)
    for rows, columns in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part, is_visible = colour[rows::2, columns::2], visible[rows::2, columns::2]
        sums[: part.shape[0], : part.shape[1]] += part * is_visible[..., None]
        counts[: part.shape[0], : part.shape[1]] += is_visible
    sums /= np.maximum(counts, 1)[..., None]
    means = pulled(sums, counts > 0)
    return np.where(visible[..., None], colour, means.repeat(2, 0).repeat(2, 1)[:height, :width])
