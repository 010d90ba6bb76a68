"""Resizing whole photographs in the memory of a band of rows. numpy, and PIL when it is called."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images.pixels import Pixels

STRIP_PIXELS = 2**22
"""Of the result, that are made at a time."""


def resized(pixels: Pixels, size: tuple[int, int], kernel: Literal["bicubic", "lanczos"]) -> Pixels:
    """Resize H×W×C integers to (height, width); scaling down, the kernel averages what it leaves out.

    Made in bands of rows, so that no more than a band of float32 exists beside the two images.

    Args:
        kernel: bicubic (a = -0.5) or lanczos (of three lobes), as PIL has them.
    """
    from PIL import Image

    resampling = Image.Resampling[kernel.upper()]
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    result = np.empty((*size, pixels.shape[2]), pixels.dtype)
    step = height / size[0]
    support = math.ceil(3 * max(1.0, step)) + 2  # rows of the input that the kernel sees beyond a band
    largest = np.iinfo(pixels.dtype).max
    for start, stop in strips(*size):
        first, last = max(0, math.floor(start * step) - support), min(height, math.ceil(stop * step) + support)
        box = (0, start * step - first, width, min(stop * step, height) - first)
        for channel in range(pixels.shape[2]):
            plane = Image.fromarray(pixels[first:last, :, channel].astype(np.float32))
            strip: NDArray[np.float32] = np.asarray(plane.resize((size[1], stop - start), resampling, box))
            result[start:stop, :, channel] = np.rint(np.clip(strip, 0, largest))
    return result


def strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Rows from and to, of STRIP_PIXELS at most."""
    rows = max(1, STRIP_PIXELS // width)
    return ((start, min(height, start + rows)) for start in range(0, height, rows))
