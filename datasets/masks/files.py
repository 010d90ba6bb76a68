"""Mask files to holes: which pixels of a painted mask are missing in its picture. numpy only."""

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images.pixels import Pixels, fit_channels
from gan_tasks.datasets.masks.draw import Mask

DEFAULT_THRESHOLD = 128
"""Half of the 8-bit range: what antialiasing and JPEG leave at the edges goes to the nearer side."""


def to_mask(pixels: Pixels, threshold: int = DEFAULT_THRESHOLD, invert: bool = False) -> Mask:
    """Turn a mask, H×W or H×W×C with 1 to 4 channels, into H×W bool, True = hole.

    White is hole: a gray or RGB mask is hole where its luma (Rec. 601), on a scale from 0 to 255 at any depth and
    rounded, is at least the threshold. A mask with alpha that is see-through anywhere is a painted layer: it is hole
    where there is paint of whatever colour, that is, where alpha is at least the threshold. Alpha that is opaque
    throughout says nothing, and the colours count. invert: the other pixels are hole, so what is black, or what was
    erased from a layer.

    True is white. Floats are meant from 0 to 1, or from -1 to 1 if any is negative. Raises UserError for a threshold
    out of 1 to 255 (0 would make every pixel a hole), for other numbers of channels and for other types.
    """
    check_threshold(threshold)
    mask: Mask = _values(pixels) >= threshold
    return ~mask if invert else mask


def resize_mask(mask: Mask, height: int, width: int) -> Mask:
    """Resize to H×W by the nearest pixel: the edge stays hard and needs no other threshold."""
    rows, columns = (
        (2 * np.arange(length) + 1) * present // (2 * length)  # where the new pixels' centres lie
        for length, present in zip((height, width), mask.shape, strict=True)
    )
    resized: Mask = mask[rows[:, None], columns]
    return resized


def useless(mask: Mask, pixels: Pixels) -> str | None:
    """Why nothing can be learned from a mask, in words for a person; None for one with some hole and some picture.

    pixels: what `to_mask` made the hole of.
    """
    if mask.any() and not mask.all():
        return None
    reason = "is hole all over, with nothing to fill it from" if mask.all() else "has no hole to fill"
    values = _values(pixels)
    low, high = int(values.min()), int(values.max())
    if low == high:
        return f"{reason}: all its values are {low}"
    return f"{reason}: its values go from {low} to {high}, which --mask-threshold {(low + high + 1) // 2} tells apart"


def fillable(pixels: Pixels, size: tuple[int, int], *, threshold: int, invert: bool, name: object) -> Mask:
    """The hole in a picture of this (height, width), from the mask that was painted for it.

    A mask without any hole is allowed: there is nothing to fill, so the picture comes back as it is. Raises
    UserError, which begins with the mask's name, for a mask of another size and for one that is hole all over.
    """
    mask = to_mask(pixels, threshold, invert)
    if mask.shape != size:
        (height, width), (wanted_height, wanted_width) = mask.shape, size
        raise UserError(
            f"{name}: is {width} × {height} px but its picture is {wanted_width} × {wanted_height} px; "
            "give a mask of the picture's size"
        )
    if mask.all():
        raise UserError(f"{name}: {useless(mask, pixels)}")
    return mask


def check_threshold(threshold: int) -> None:
    """Raises UserError for a threshold out of 1 to 255."""
    if not 1 <= threshold <= 255:
        raise UserError(f"mask_threshold is {threshold}; it must lie between 1 and 255")


def _values(pixels: Pixels) -> NDArray[np.uint8]:
    """What the threshold is held against: luma or, of a layer, alpha; H×W."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4):
        raise UserError(f"has the shape {pixels.shape}; a mask is gray or RGB, with or without alpha")
    levels = _levels(pixels)
    if pixels.shape[2] in (2, 4) and (levels[..., -1] < 255).any():
        return levels[..., -1]
    return fit_channels(levels, 1)[..., 0]


def _levels(pixels: Pixels) -> NDArray[np.uint8]:
    """On a scale from 0 to 255, rounded."""
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype == np.uint16:
        unit = pixels / np.float32(65535)
    elif pixels.dtype.kind == "f":
        unit = np.clip((pixels + 1) / 2 if (pixels < 0).any() else pixels, 0, 1)
    else:
        raise UserError(f"has {pixels.dtype} values; a mask's are uint8, uint16, bool or float")
    levels: NDArray[np.uint8] = np.rint(unit * 255).astype(np.uint8)
    return levels
