"""The largest image that is read, and which pixels are."""

from typing import Any

import numpy as np

from gan_tasks.datasets.images.pixels import ImageError

MAX_PIXELS = 100_000_000
"""Height × width of the largest image that is read unless another limit is given."""


def check_size(height: int, width: int, channels: int, max_pixels: int | None) -> None:
    """Raise ImageError for more than `max_pixels` (default MAX_PIXELS), or 4 times as many values."""
    limit = MAX_PIXELS if max_pixels is None else max_pixels
    advice = "make it smaller" if max_pixels is None else "make it smaller, or raise the limit with --max-pixels"
    pixels = height * width
    if pixels > limit:
        raise ImageError(f"{width} × {height} px ({pixels:,}) is over the limit of {limit:,} px; {advice}")
    if pixels * channels > 4 * limit:
        raise ImageError(
            f"{width} × {height} px with {channels} channels ({pixels * channels:,} values) is over the limit of "
            f"{4 * limit:,} values, which are 4 for each px; {advice}"
        )


def check_type(dtype: np.dtype[Any]) -> None:
    """Raise ImageError for pixels other than uint8, uint16 and floats."""
    if dtype.kind != "f" and (dtype.kind != "u" or dtype.itemsize > 2):
        raise ImageError(f"has {dtype} pixels; save it with uint8, uint16 or float pixels")
