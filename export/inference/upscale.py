"""Upscaling an image by any scale, and blending the result with bicubic interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.export.models.resizing import resized, strips

LARGEST_SCALE = 16.0


@dataclass(frozen=True)
class UpscaleOptions:
    """How a model that upscales is used. Raises UserError for values out of range.

    scale: output pixels to an input pixel along a side; None is the model's own scale.
    blend_weight: 1 is the model alone, 0 bicubic interpolation alone, values between them mix the two.
    """

    scale: float | None = None
    blend_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.scale is not None and not 0 < self.scale <= LARGEST_SCALE:
            raise UserError(f"the scale is {self.scale:g}: expected a scale above 0, of at most {LARGEST_SCALE:g}")
        if not 0 <= self.blend_weight <= 1:
            raise UserError(
                f"the blend weight is {self.blend_weight:g}: expected 0, bicubic alone, to 1, the model alone"
            )

    def __str__(self) -> str:
        """The options that are not the default, each after a comma; tells results of different options apart."""
        scale = "" if self.scale is None else f", scale {self.scale:.10g}"
        return scale + ("" if self.blend_weight == 1 else f", blend weight {self.blend_weight:.10g}")


def finished(made: Pixels, image: Pixels, options: UpscaleOptions) -> Pixels:
    """What a model made of an image, in the scale and with the blend weight of the options.

    Args:
        made: the model's output, in its own scale.
        image: what it was made of, H×W×C of uint8 or uint16.

    Returns round(scale·H) × round(scale·W) pixels of the same type, resized with a Lanczos filter.
    """
    if options.scale is not None:
        height, width = (max(1, math.floor(side * options.scale + 0.5)) for side in image.shape[:2])
        made = resized(made, (height, width), "lanczos")
    if options.blend_weight < 1:
        bicubic = resized(fit_channels(image, made.shape[2]), made.shape[:2], "bicubic")
        made = blended(made, bicubic, options.blend_weight)
    return made


def blended(made: Pixels, bicubic: Pixels, weight: float) -> Pixels:
    result = np.empty_like(made)
    for start, stop in strips(*made.shape[:2]):
        weighted = made[start:stop] * np.float32(weight) + bicubic[start:stop] * np.float32(1 - weight)
        result[start:stop] = np.rint(weighted)
    return result
