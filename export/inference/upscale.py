"""Any output scale of a model of super-resolution, and how much of it is mixed in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.export.models.base import SUPER_RESOLUTION, Model
from gan_tasks.export.models.resizing import resized, strips

LARGEST_SCALE = 16.0


@dataclass(frozen=True)
class Enlarging:
    """How a model of super-resolution is used.

    scale: output pixels to an input pixel along a side; None is the model's own.
    strength: 1 is the model alone, 0 the input enlarged by bicubic interpolation, and between they are mixed.
    """

    scale: float | None = None
    blend_weight: float = 1.0

    def check(self, model: Model) -> None:
        """Raises UserError for values out of range, and where the model is of another task."""
        if self == Enlarging():
            return
        if model.name != SUPER_RESOLUTION:
            raise UserError(
                f"{model.title} is a model of {model.name}, whose result has a size and a look of its own: scale and "
                f"strength are for models of {SUPER_RESOLUTION}"
            )
        if self.scale is not None and not 0 < self.scale <= LARGEST_SCALE:
            raise UserError(
                f"cannot enlarge by {self.scale:g}: expected a scale above 0, of at most {LARGEST_SCALE:g}"
            )
        if not 0 <= self.blend_weight <= 1:
            raise UserError(
                f"the strength is {self.blend_weight:g}: expected 0, bicubic alone, to 1, the model alone"
            )

    def __str__(self) -> str:
        """What is not as usual, each after a comma; it tells results of different options apart."""
        scale = "" if self.scale is None else f", scale {self.scale:.10g}"
        return scale + ("" if self.blend_weight == 1 else f", strength {self.blend_weight:.10g}")


def enlarge_with(model: Model, image: Pixels, enlarging: Enlarging) -> Pixels:
    """H×W×C of uint8 or uint16 → the model's result in round(scale·H) × round(scale·W), the same type.

    The model enlarges by its own scale; what is more or less is done with a Lanczos filter. Raises as
    `Enlarging.check`, and ImageError as the model does.
    """
    enlarging.check(model)
    made = model(image)
    if enlarging.scale is not None:
        height, width = (max(1, math.floor(side * enlarging.scale + 0.5)) for side in image.shape[:2])
        made = resized(made, (height, width), "lanczos")
    if enlarging.blend_weight < 1:
        plain = resized(fit_channels(image, made.shape[2]), made.shape[:2], "bicubic")
        made = mixed(made, plain, enlarging.blend_weight)
    return made


def mixed(made: Pixels, plain: Pixels, blend_weight: float) -> Pixels:
    result = np.empty_like(made)
    for start, stop in strips(*made.shape[:2]):
        weighted = made[start:stop] * np.float32(blend_weight) + plain[start:stop] * np.float32(1 - blend_weight)
        result[start:stop] = np.rint(weighted)
    return result
