"""Put images of one size side by side. numpy only."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import MAX_PIXELS, Pixels

WHITE = 255


def columns_of(count: int) -> int:
    """Return the number of columns of a grid of `count` images that is about square."""
    return math.ceil(math.sqrt(count))


def tiled(images: Iterable[Pixels | None], columns: int, *, count: int, shape: tuple[int, int, int]) -> Pixels:
    """Put images side by side, row by row, without gaps.

    Args:
        images: H×W×C uint8 of `shape`; None leaves a cell white. They are asked for one after the other.
        columns: images in a row.
        count: number of images.

    Raises UserError, before the first image, if the grid has more pixels than an image file may have.
    """
    height, width, channels = shape
    rows = -(-count // columns)
    check_size(count, columns, shape)
    canvas = np.full((rows, height, columns, width, channels), WHITE, np.uint8)
    for number, image in enumerate(images):
        if image is not None:
            canvas[number // columns, :, number % columns] = image
    return canvas.reshape(rows * height, columns * width, channels)


def check_size(count: int, columns: int, shape: tuple[int, int, int]) -> None:
    """Raise UserError if a grid of this many images has more pixels than an image file may have."""
    height, width, _ = shape
    if (pixels := -(-count // columns) * columns * height * width) > MAX_PIXELS:
        raise UserError(
            f"{count:,} images of {width}×{height} pixels in one image are {pixels:,} pixels: expected at most "
            f"{MAX_PIXELS:,}; give fewer"
        )
