"""Alpha around a network that has none, and the colours of transparent pixels. numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import Pixels


def split_alpha(image: Pixels, channels: int) -> tuple[Pixels, Pixels | None]:
    """Colour and alpha of gray+alpha or RGBA pixels, where the network's channels have no room for alpha."""
    if image.shape[2] in (2, 4) and channels in (1, 3):
        return image[..., :-1], image[..., -1:]
    return image, None


def spread_colour(colour: Pixels, alpha: Pixels) -> Pixels:
    """Fill what is wholly transparent with the mean of the visible colours nearby; H×W×C and H×W×1 integers.

    Push and pull (Gortler et al. 1996): each pixel takes the mean of the smallest block of 2×2, 4×4, … pixels around
    it in which anything is visible. Visible pixels stay as they are.
    """
    hidden = alpha[..., 0] == 0
    if not hidden.any() or hidden.all():
        return colour
    filled = colour.copy()
    filled[hidden] = np.rint(pulled(colour.astype(np.float32), ~hidden)[hidden]).astype(colour.dtype)
    return filled


def pulled(colour: NDArray[np.float32], visible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The colour, and where it is not visible that of the next level, half the size; a pixel has to be visible."""
    if visible.all():
        return colour
    height, width = visible.shape
    sums = np.zeros((-(-height // 2), -(-width // 2), colour.shape[2]), np.float32)
    counts = np.zeros(sums.shape[:2], np.float32)
    for rows, columns in ((0, 0), (0, 1), (1, 0), (1, 1)):
        part, seen = colour[rows::2, columns::2], visible[rows::2, columns::2]
        sums[: seen.shape[0], : seen.shape[1]] += part * seen[..., None]
        counts[: seen.shape[0], : seen.shape[1]] += seen
    sums /= np.maximum(counts, 1)[..., None]
    means = pulled(sums, counts > 0)
    return np.where(visible[..., None], colour, means.repeat(2, 0).repeat(2, 1)[:height, :width])
