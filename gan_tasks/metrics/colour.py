"""The colours of outputs beside those of real images: colour cast, brightness and mean chroma. numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import enumerated
from gan_tasks.datasets.images.pixels import REC_601, Pixels, fit_channels, to_float

Means = NDArray[np.float64]
"""Means of images over their pixels, images × channels, in levels of 255."""

CAST_LEVELS, BRIGHTNESS_LEVELS = 10.0, 20.0
"""Differences of the means, in levels of 255, from which a person sees them in images side by side."""
ERRORS = 4.0
"""Standard errors that a difference must have beyond chance. The usual 2 are too few for means over four images."""


@dataclass(frozen=True)
class ColourShift:
    """Means of outputs minus those of real images, in levels of 255."""

    channels: tuple[float, ...]
    cast_error: float
    """Standard error of a channel's difference to the mean of all channels; that of the channel with the largest."""
    brightness_error: float
    """Standard error of the mean of all channels."""


def colour_shift(outputs: Means, real: Means, *, paired: bool) -> ColourShift:
    """Compare the mean colours of outputs and of real images.

    Args:
        paired: row i of both belongs to one image, so that the content does not count as chance.
    """
    channels = tuple(map(float, outputs.mean(axis=0) - real.mean(axis=0)))
    sets = [outputs - real] if paired else [outputs, real]
    of_set = [(standard_error(casts(rows)), standard_error(rows.mean(axis=1, keepdims=True))) for rows in sets]
    cast, brightness = (float(np.sqrt(sum(error**2 for error in errors))) for errors in zip(*of_set, strict=True))
    return ColourShift(channels, cast, brightness)


def casts(rows: Means) -> Means:
    difference: Means = rows - rows.mean(axis=1, keepdims=True)
    return difference


def standard_error(rows: Means) -> float:
    """Return the standard error of the mean of the rows, the largest of the columns; inf for a single row."""
    return float(rows.std(axis=0, ddof=1).max() / np.sqrt(len(rows))) if len(rows) > 1 else np.inf


def shift_sentence(shift: ColourShift) -> str | None:
    """Describe a visible shift that is no chance, such as "outputs are redder: red +31, green -12, blue -14"."""
    levels = np.asarray(shift.channels)
    cast, brightness = levels - levels.mean(), float(levels.mean())
    names = channel_names(len(levels))
    figures = (
        f"{enumerated([f'{name} {value:+.0f}' for name, value in zip(names, levels, strict=True)])} levels of 255"
    )
    if np.abs(cast).max() > max(CAST_LEVELS, ERRORS * shift.cast_error):
        wrong = [f"too {'much' if value > 0 else 'little'} {name}" for name, value in zip(names, cast, strict=True)]
        seen = [words for words, value in zip(wrong, cast, strict=True) if abs(value) > CAST_LEVELS / 2]
        return f"have a colour cast, {enumerated(seen)} ({figures})"
    if abs(brightness) > max(BRIGHTNESS_LEVELS, ERRORS * shift.brightness_error):
        return f"are too {'bright' if brightness > 0 else 'dark'} ({figures})"
    return None


def channel_names(channels: int) -> Sequence[str]:
    """Return the names of the channels of an image without alpha."""
    known = {1: ("gray",), 3: ("red", "green", "blue")}
    return known.get(channels) or [f"channel {number}" for number in range(1, channels + 1)]


def colour_channels(channels: int) -> int:
    """Return the number of channels without alpha: 1 of 2, 3 of 4, and all of any other number."""
    return {2: 1, 4: 3}.get(channels, channels)


def mean_chroma(pixels: Pixels) -> float:
    """Return the mean magnitude of the chroma (Cb, Cr) of H×W×C pixels.

    It is the chroma of ITU-R BT.601: 0 for gray, 0.507 for pure blue, 0.528 for red, and 0.534, the most, for green.
    Divided by that of real images, it says how vivid the outputs are.
    """
    colour = to_float(fit_channels(pixels, 3)) / 2
    luma = np.tensordot(REC_601, colour, axes=1)
    red, _, blue = (colour - luma) / (2 * (1 - REC_601[:, None, None]))
    return float(np.hypot(red, blue).mean())
