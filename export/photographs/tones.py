"""Whether a photograph is gray, toned or in colour, and so which steps it needs. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.export.models.inputs import checked_image
from gan_tasks.export.photographs.steps import ColouriseIf, Step

Tones = Literal["gray", "toned", "colour"]
COLOURISED: Mapping[ColouriseIf, tuple[Tones, ...]] = {
    "gray": ("gray",),
    "toned": ("gray", "toned"),
    "any": ("gray", "toned", "colour"),
}
"""The photographs that are colourised."""
NOT_COLOURISED: Mapping[ColouriseIf, tuple[str, str]] = {
    "gray": ("in colour or toned", "toned or any"),
    "toned": ("in colour", "any"),
}
"""In words: what the others are, and which choices may colourise them."""

FEWEST_CELLS = 64
"""Each side of a photograph is divided into this many cells, or up to twice as many. Their means have less noise."""
GRAY_LEVELS = 6.0
"""Difference between channels, of 255 levels, up to which a pixel is gray: scans and JPEG files vary that much."""
TONED_LEVELS = 8.0
"""Distance from the tone, of 255 levels, up to which a pixel has only the tone of the print."""
GRAY_SHARE, TONED_SHARE = 0.99, 0.95
"""Share of pixels that are gray, or have only the tone. The others are spots and stains."""


def tones_of(pixels: Pixels) -> Tones:
    """Return "toned" for a photograph of one tone, such as sepia: its colours follow from the brightness.

    pixels: H×W×C of uint8 or uint16, gray or RGB, with or without alpha.

    Raises ImageError for other pixels.
    """
    pixels = checked_image("image", pixels)
    if pixels.shape[2] < 3:
        return "gray"
    rgb = fit_channels(cell_means(pixels), 3)
    luma = fit_channels(rgb, 1)
    chroma, luma = (rgb - luma).reshape(-1, 3), luma.ravel()
    if np.quantile(np.abs(chroma).max(1), GRAY_SHARE) <= GRAY_LEVELS:
        return "gray"
    powers = np.vander(luma / 255, 4)  # the tone is a smooth function of the brightness
    tone = powers @ np.linalg.lstsq(powers, chroma, rcond=None)[0]
    return "toned" if np.quantile(np.abs(chroma - tone).max(1), TONED_SHARE) <= TONED_LEVELS else "colour"


def cell_means(pixels: Pixels) -> NDArray[np.float64]:
    """Return the mean of each cell of an image, in 255 levels. The image is read row of cells by row of cells."""
    rows, columns = (max(1, side // FEWEST_CELLS) for side in pixels.shape[:2])
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    sums = [
        pixels[top : top + rows, : width * columns].sum(0, dtype=np.int64).reshape(width, columns, -1).sum(1)
        for top in range(0, height * rows, rows)
    ]
    return np.asarray(np.stack(sums) * (255 / (rows * columns * np.iinfo(pixels.dtype).max)))


def steps_for(pixels: Pixels, steps: Sequence[Step], colourise_if: ColouriseIf = "gray") -> tuple[Step, ...]:
    """Return the steps that a photograph needs: one in colour is not colourised. Raises ImageError as `tones_of`."""
    is_colourised = "colourise" in steps and tones_of(pixels) in COLOURISED[colourise_if]
    return tuple(step for step in steps if step != "colourise" or is_colourised)
