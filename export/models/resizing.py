"""Resize large images strip-wise, with little memory. Imports numpy, and PIL when it is called."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images.pixels import Pixels

STRIP_PIXELS = 2**22
"""Most pixels of the result in a strip of rows."""


def resized(pixels: Pixels, size: tuple[int, int], kernel: Literal["bicubic", "lanczos"]) -> Pixels:
    """Resize H×W×C integers to (height, width), antialiased.

    It works strip-wise, so that only one strip of rows of float32 is in memory beside the two images.

    Args:
        kernel: PIL's bicubic (a = -0.5) or lanczos (three lobes).
    """
    from PIL import Image

    resampling = Image.Resampling[kernel.upper()]
    height, width = pixels.shape[:2]
    if (height, width) == size:
        return pixels
    result = np.empty((*size, pixels.shape[2]), pixels.dtype)
    step = height / size[0]
    support = math.ceil(3 * max(1.0, step)) + 2  # input rows that the kernel needs beyond a strip
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
    """Yield the ranges of rows, start and stop, of strips of at most STRIP_PIXELS."""
    rows = max(1, STRIP_PIXELS // width)
    return ((start, min(height, start + rows)) for start in range(0, height, rows))
