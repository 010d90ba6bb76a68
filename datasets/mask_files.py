"""Mask files to holes: which pixels of a painted mask are missing in its picture. numpy only."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.masks import Hole
from gan_tasks.datasets.pixels import Pixels, fit_channels

DEFAULT_THRESHOLD = 128
"""Half of the 8-bit range: what antialiasing and JPEG leave at the edges goes to the nearer side."""


def to_hole(mask: Pixels, threshold: int = DEFAULT_THRESHOLD, invert: bool = False) -> Hole:
    """Turn a mask, H×W or H×W×C with 1 to 4 channels, into H×W bool, True = hole.

    White is hole: a gray or RGB mask is hole where its luma (Rec. 601) is at least the threshold, on the scale from 0
    to 255, rounded, at any depth. A mask with alpha that is see-through anywhere is a painted layer: hole is where there is
    paint of whatever colour, that is, where alpha is at least the threshold. Where alpha is opaque throughout it says
    nothing, and the colours count. invert: the other pixels are hole, so black, or what was erased from a layer.

    True is white. Floats are meant from 0 to 1, or from -1 to 1 if any is negative. Raises UserError for a threshold
    out of 1 to 255 (0 would make every pixel a hole), for other numbers of channels and for other types.
    """
    check_threshold(threshold)
    if mask.ndim == 2:
        mask = mask[..., None]
    if mask.ndim != 3 or mask.shape[2] not in (1, 2, 3, 4):
        raise UserError(
            f"a mask of the shape {mask.shape} is not understood; give gray or RGB, with alpha or without"
        )
    levels = _levels(mask)
    has_alpha = mask.shape[2] in (2, 4)
    is_layer = has_alpha and bool((levels[..., -1] < 255).any())
    hole: Hole = (levels[..., -1] if is_layer else fit_channels(levels, 1)[..., 0]) >= threshold
    return ~hole if invert else hole


def resize_hole(hole: Hole, height: int, width: int) -> Hole:
    """Resize to H×W by the nearest pixel: what is hole stays so, without a soft edge to decide on again."""
    rows, columns = (
        ((np.arange(length) + 0.5) * present / length).astype(np.intp)
        for length, present in zip((height, width), hole.shape, strict=True)
    )
    resized: Hole = hole[rows[:, None], columns]
    return resized


def useless(hole: Hole, mask: Pixels) -> str | None:
    """Why nothing can be learned from a mask, in words for a person; None for one with some hole and some picture.

    mask: what the hole was made from.
    """
    if hole.all():
        return "is hole all over, so there is nothing to fill from; if its holes are the dark pixels, --invert-mask"
    if not hole.any():
        brightest = int(_levels(mask).max())
        dim = f": its brightest value is {brightest}, so --mask-threshold must be at most that"
        return f"has no hole{dim if 0 < brightest < 255 else ', so there is nothing to fill'}"
    return None


def fillable(mask: Pixels, size: tuple[int, int], *, threshold: int, invert: bool, name: Path | str) -> Hole:
    """The hole of a mask that belongs to one picture of this (height, width).

    An empty mask is allowed, since nothing to fill is an answer: the picture comes back as it is. Raises UserError,
    naming the mask, for one of another size, and for one that is hole all over.
    """
    hole = to_hole(mask, threshold, invert)
    (height, width), (wanted_height, wanted_width) = hole.shape, size
    if hole.shape != size:
        raise UserError(
            f"{name}: is {width} × {height} px but its picture {wanted_width} × {wanted_height} px; "
            "give a mask of the picture's size"
        )
    if hole.all():
        raise UserError(f"{name}: {useless(hole, mask)}")
    return hole


def check_threshold(threshold: int) -> None:
    """Raises UserError for what does not tell holes from the rest."""
    if not 1 <= threshold <= 255:
        raise UserError(f"mask_threshold is {threshold}; it must lie between 1 and 255")


def _levels(mask: Pixels) -> NDArray[np.uint8]:
    """On the scale from 0 to 255, rounded."""
    match mask.dtype:
        case np.uint8:
            return mask
        case np.bool_:
            return mask.astype(np.uint8) * np.uint8(255)
        case np.uint16:
            return np.rint(mask / np.float32(257)).astype(np.uint8)
    if mask.dtype.kind != "f":
        raise UserError(f"a mask of {mask.dtype} values is not understood; give uint8, uint16, bool or float")
    unit = (mask + 1) / 2 if (mask < 0).any() else mask
    return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)
