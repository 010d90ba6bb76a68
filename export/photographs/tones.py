"""Whether a photograph is gray, toned or in colour, and so which steps it needs. numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.export.photographs.steps import ColouriseIf, Step

Tones = Literal["gray", "toned", "colour"]
COLOURISED: Mapping[ColouriseIf, tuple[Tones, ...]] = {
    "gray": ("gray",),
    "toned": ("gray", "toned"),
    "any": ("gray", "toned", "colour"),
}
"""The photographs that are colourised."""

SIDE = 64
"""The photograph is reduced to about this many pixels along its shorter side, which removes noise."""
GRAY_LEVELS = 6.0
"""Difference between channels, of 255 levels, up to which a pixel is gray: scans and JPEG files vary that much."""
TONED_LEVELS = 8.0
"""Distance from the tone, of 255 levels, up to which a pixel has only the tone of the print."""
GRAY_SHARE, TONED_SHARE = 0.99, 0.95
"""Share of pixels that are gray, or have only the tone. The others are spots and stains."""


def tones_of(pixels: Pixels) -> Tones:
    """Return "toned" for a photograph of one tone, such as sepia: its colours follow from the brightness.

    pixels: H×W×C of uint8 or uint16, gray or RGB, with or without alpha.
    """
    if pixels.shape[2] < 3:
        return "gray"
    step = max(1, min(pixels.shape[:2]) // SIDE)
    height, width = (max(1, side // step) for side in pixels.shape[:2])
    rgb = fit_channels(pixels, 3)[: height * step, : width * step] / np.float32(np.iinfo(pixels.dtype).max / 255)
    rgb = rgb[: height * step, : width * step].reshape(height, min(step, len(rgb)), width, -1, 3).mean((1, 3))
    luma = fit_channels(rgb, 1).ravel()
    chroma = (rgb - luma.reshape(height, width, 1)).reshape(-1, 3)
    if np.quantile(np.abs(chroma).max(1), GRAY_SHARE) <= GRAY_LEVELS:
        return "gray"
    powers = np.vander(luma / 255, 4)  # the tone is a smooth function of the brightness
    tone = powers @ np.linalg.lstsq(powers, chroma, rcond=None)[0]
    return "toned" if np.quantile(np.abs(chroma - tone).max(1), TONED_SHARE) <= TONED_LEVELS else "colour"


def steps_for(pixels: Pixels, steps: Sequence[Step], colourise_if: ColouriseIf = "gray") -> tuple[Step, ...]:
    """Return the steps that a photograph needs: one in colour is not colourised."""
    is_colourised = "colourise" in steps and tones_of(pixels) in COLOURISED[colourise_if]
    return tuple(step for step in steps if step != "colourise" or is_colourised)
