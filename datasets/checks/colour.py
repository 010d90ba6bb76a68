"""Tell colour photographs from gray ones."""

from math import isqrt

import numpy as np

from gan_tasks.datasets.images import Pixels, to_float

COLOUR_LEVELS = 6.0
"""Range of the channels of a pixel, of 255 levels, above which it has colour: the rounding of JPEG is below it."""
COLOURED_SHARE = 0.005
"""Share of pixels with colour above which an image has colour. Of 1486 photographs, a gray one with a coloured web
address had 0.0013, and the least colourful of the others 0.055."""
SAMPLED_PIXELS = 256 * 256
"""Least number of pixels that are looked at in a larger image."""


def has_colour(pixels: Pixels) -> bool:
    """Return whether H×W×C pixels show colour, in a grid of them. Images of one or two channels have none."""
    if pixels.shape[2] < 3:
        return False
    step = max(1, isqrt(pixels.shape[0] * pixels.shape[1] // SAMPLED_PIXELS))
    sample = to_float(pixels[::step, ::step, :3])
    levels = 127.5 * (sample.max(axis=0) - sample.min(axis=0))
    return float(np.mean(levels > COLOUR_LEVELS)) > COLOURED_SHARE
