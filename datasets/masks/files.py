"""Turn the pixels of mask files into masks. This module needs numpy only."""

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images.pixels import Pixels, fit_channels
from gan_tasks.datasets.masks.draw import Mask

DEFAULT_THRESHOLD = 128
"""Half of the 8-bit range, so that antialiased edges and JPEG noise are rounded to masked or unmasked."""


def to_mask(pixels: Pixels, threshold: int = DEFAULT_THRESHOLD, invert: bool = False) -> Mask:
    """Turn the pixels of a mask file, H×W or H×W×C with 1 to 4 channels, into H×W bool, True = masked.

    White = masked = to be filled: a pixel of a gray or RGB mask is masked if its luma (Rec. 601), scaled to 0–255 and
    rounded, is at least the threshold. If alpha is below 255 anywhere, the mask is a painted layer: a pixel is masked
    if its alpha is at least the threshold, whatever its colour. Alpha is ignored if it is 255 everywhere, and if it
    is the same everywhere but the colour is not.

    If there are just two values and the threshold is not between them, the higher one is masked: so masks of 0 and 1,
    of two classes of a palette, and of one dark colour on black need no other threshold.

    invert: mask the other pixels instead, that is, black ones, or the erased parts of a layer.
    pixels: bool (True = white), uint8, uint16, or float in [0, 1], or in [-1, 1] if any value is negative. uint16 of
        at most 255 everywhere are 8-bit values.

    Raises UserError for a threshold out of 1 to 255 (0 would mask every pixel), and for other shapes and types.
    """
    check_threshold(threshold)
    values = _values(pixels)
    mask: Mask = values >= threshold
    low, high = int(values.min()), int(values.max())
    if low < high and not low < threshold <= high and ((values == low) | (values == high)).all():
        mask = values == high
    return ~mask if invert else mask


def resize_mask(mask: Mask, height: int, width: int) -> Mask:
    """Resize a mask to height × width with nearest-neighbour interpolation, which keeps it binary."""
    rows, columns = (
        (2 * np.arange(length) + 1) * present // (2 * length)  # the old pixels that contain the new pixels' centres
        for length, present in zip((height, width), mask.shape, strict=True)
    )
    resized: Mask = mask[rows[:, None], columns]
    return resized


def unusable_reason(mask: Mask, pixels: Pixels) -> str | None:
    """Return why a mask cannot be used, in words for the user: all or none of its pixels are masked.

    pixels: the input of `to_mask`. Returns None for a usable mask.
    """
    if mask.any() and not mask.all():
        return None
    reason = (
        "all pixels are masked, expected some unmasked" if mask.all() else "no pixel is masked, expected some masked"
    )
    values = _values(pixels)
    low, high = int(values.min()), int(values.max())
    if low == high:
        return f"{reason}; all its values are {low}: give a mask that is partly white"
    return f"{reason}; its values are {low} to {high}: try --mask-threshold {(low + high + 1) // 2}"


def fillable(pixels: Pixels, size: tuple[int, int], *, threshold: int, invert: bool, name: object) -> Mask:
    """Turn the pixels of a mask file into the mask of an image of this (height, width).

    name: the name of the mask in messages. A mask that is black everywhere (with `invert`, white) is allowed: the
        image is then returned unchanged.

    Raises UserError for a mask of another size, for one that masks every pixel, and for one that has other values
    than black but none from the threshold on.
    """
    mask = to_mask(pixels, threshold, invert)
    if mask.shape != size:
        (height, width), (wanted_height, wanted_width) = mask.shape, size
        raise UserError(
            f"{name}: is {width} × {height} px but its image is {wanted_width} × {wanted_height} px; "
            "give a mask of the image's size"
        )
    if mask.all() or not (mask.any() or _is_blank(pixels, invert)):
        raise UserError(f"{name}: {unusable_reason(mask, pixels)}")
    return mask


def check_threshold(threshold: int) -> None:
    """Raise UserError for a threshold out of 1 to 255."""
    if not 1 <= threshold <= 255:
        raise UserError(f"mask_threshold is {threshold}; give a number from 1 to 255")


def _is_blank(pixels: Pixels, invert: bool) -> bool:
    """Return whether a mask file has only the value for unmasked pixels."""
    values = _values(pixels)
    return bool((values == (255 if invert else 0)).all())


def _values(pixels: Pixels) -> NDArray[np.uint8]:
    """Return the H×W values that the threshold is compared with: luma, or alpha for a painted layer."""
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4):
        raise UserError(f"has the shape {pixels.shape}; give a gray or RGB mask, with or without alpha")
    levels = _levels(pixels)
    if pixels.shape[2] in (1, 3):
        return fit_channels(levels, 1)[..., 0]
    alpha, luma = levels[..., -1], fit_channels(levels[..., :-1], 1)[..., 0]
    if alpha.min() == alpha.max() and (alpha.min() == 255 or luma.min() < luma.max()):
        return luma
    return alpha


def _levels(pixels: Pixels) -> NDArray[np.uint8]:
    """Scale the values to 0–255 and round them."""
    if pixels.dtype == np.bool_:
        return pixels.astype(np.uint8) * np.uint8(255)
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype == np.uint16:
        if pixels.max() <= 255:  # 8-bit values, such as numbers of classes, that were saved with 16 bits
            return pixels.astype(np.uint8)
        unit = pixels / np.float32(65535)
    elif pixels.dtype.kind == "f":
        unit = np.clip((pixels + 1) / 2 if (pixels < 0).any() else pixels, 0, 1)
    else:
        raise UserError(f"has {pixels.dtype} values; give a mask of uint8, uint16, bool or float values")
    levels: NDArray[np.uint8] = np.rint(unit * 255).astype(np.uint8)
    return levels
