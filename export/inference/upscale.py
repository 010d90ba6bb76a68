"""Resize the output of a super-resolution model to any scale, and blend it with bicubic interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.datasets.ranges import Checked, Fraction, Scale
from gan_tasks.export.models.resizing import resized, strips


@dataclass(frozen=True)
class UpscaleOptions(Checked):
    """How to use a super-resolution model. Raises UserError for values out of range.

    scale: size of the result over the size of the input; None is the model's own scale.
    blend_weight: weight of the model's output; 1 - blend_weight is the weight of bicubic interpolation.
    """

    scale: Scale | None = None
    blend_weight: Fraction = 1.0

    def __str__(self) -> str:
        """Return the options that are not the default, each after a comma, to identify results."""
        scale = "" if self.scale is None else f", scale {self.scale:.10g}"
        return scale + ("" if self.blend_weight == 1 else f", blend weight {self.blend_weight:.10g}")


def scaled_size(size: tuple[int, int], model_scale: int, options: UpscaleOptions) -> tuple[int, int]:
    """Return the (height, width) of the result for an image of this (height, width)."""
    if options.scale is None:
        return size[0] * model_scale, size[1] * model_scale
    height, width = (max(1, math.floor(side * options.scale + 0.5)) for side in size)
    return height, width


def finished(output: Pixels, image: Pixels, options: UpscaleOptions) -> Pixels:
    """Resize and blend a model's output as the options say.

    Args:
        output: the model's output, in its own scale.
        image: the input, H×W×C of uint8 or uint16.

    Returns round(scale·H) × round(scale·W) pixels of the same type, resized with a Lanczos filter.
    """
    if options.scale is not None:
        height, width, _ = image.shape
        output = resized(output, scaled_size((height, width), 1, options), "lanczos")
    if options.blend_weight < 1:
        bicubic = resized(fit_channels(image, output.shape[2]), output.shape[:2], "bicubic")
        output = blended(output, bicubic, options.blend_weight)
    return output


def blended(output: Pixels, bicubic: Pixels, weight: float) -> Pixels:
    """Return weight · output + (1 - weight) · bicubic, rounded; computed strip-wise."""
    result = np.empty_like(output)
    for start, stop in strips(*output.shape[:2]):
        weighted = output[start:stop] * np.float32(weight) + bicubic[start:stop] * np.float32(1 - weight)
        result[start:stop] = np.rint(weighted)
    return result
