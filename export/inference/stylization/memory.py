"""Bring the images of a stylization to a size for which the memory suffices. Imports no torch."""

from __future__ import annotations

import math

from gan_tasks.datasets.images import Pixels
from gan_tasks.export.models.base import Model
from gan_tasks.export.models.resizing import resized

SHRINK = 0.97
"""Factor on the sides of an image that does not fit, again and again."""


def fitting(model: Model, picture: Pixels) -> Pixels:
    """Return a picture, or a smaller one of the same aspect ratio if the model needs too much memory for it.

    The statistics that make the style are those of whole images, so that a model cannot run on tiles of one.
    """
    height, width = picture.shape[:2]
    size, factor = (height, width), 1.0
    while model.runs_in_tiles(*size) and min(size) > 1:
        factor *= SHRINK
        size = max(1, math.floor(height * factor)), max(1, math.floor(width * factor))
    return resized(picture, size, "bicubic")


def remark(what: str, picture: Pixels, fitted: Pixels) -> tuple[str, ...]:
    """Return a remark for the user if a picture was reduced."""
    if picture.shape == fitted.shape:
        return ()
    (height, width), (rows, columns) = picture.shape[:2], fitted.shape[:2]
    return (
        f"{what} of {width} × {height} px was reduced to {columns} × {rows} px, because style is taken from whole "
        "images: a larger --max-memory allows more",
    )
