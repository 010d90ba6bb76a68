"""The largest image that is read, and which pixels are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gan_tasks.datasets.images.pixels import ImageError

MAX_PIXELS = 100_000_000
"""Height × width of the largest image that is read unless another limit is given."""


@dataclass(frozen=True)
class SizeLimit:
    """What an image may have at most.

    max_pixels: height × width; None for MAX_PIXELS.
    on_size: is called with height × width × channels of an image within the limit, before it is decoded.
    """

    max_pixels: int | None = None
    on_size: Callable[[int], object] | None = None

    def check(self, height: int, width: int, channels: int) -> None:
        """Raise ImageError for more pixels than the limit, or 4 times as many values."""
        limit = MAX_PIXELS if self.max_pixels is None else self.max_pixels
        advice = "make it smaller" + ("" if self.max_pixels is None else ", or raise the limit with --max-pixels")
        pixels = height * width
        if pixels > limit:
            raise ImageError(f"{width} × {height} px ({pixels:,}) is over the limit of {limit:,} px; {advice}")
        if pixels * channels > 4 * limit:
            raise ImageError(
                f"{width} × {height} px with {channels} channels ({pixels * channels:,} values) is over the limit of "
                f"{4 * limit:,} values, which are 4 for each px; {advice}"
            )
        if self.on_size is not None:
            self.on_size(pixels * channels)


def check_type(dtype: np.dtype[Any]) -> None:
    """Raise ImageError for pixels other than uint8, uint16 and floats."""
    if dtype.kind != "f" and (dtype.kind != "u" or dtype.itemsize > 2):
        raise ImageError(f"has {dtype} pixels; save it with uint8, uint16 or float pixels")
