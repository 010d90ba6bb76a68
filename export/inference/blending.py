"""Fitting what a network made into the picture around it. numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.models.base import FloatImages

COARSE_LEVELS = 3
"""Halvings after which a difference at the rim counts as one of colour, not of detail: blocks of 8 px."""


def correction(
    made: FloatImages, given: FloatImages, mask: Mask, *, feather_px: int, match_colour: bool
) -> FloatImages:
    """What to add to the network's image in the hole, so that it goes on where the picture around it ends.

    Outside the hole the network's image and the picture differ a little, in colour most of all; that difference is
    led on into the hole, smoothly (pull-push interpolation, Gortler et al. 1996).

    Args:
        made, given: C×H×W, the network's whole image and the picture.
        feather_px: width of the band inside the hole over which the fine part of the difference fades out.
        match_colour: lead the coarse part on through the whole hole.
    """
    known = ~mask
    difference = np.where(known, given - made, 0)
    coarse = extended(difference, known, skip=COARSE_LEVELS) if match_colour else np.zeros_like(made)
    if not feather_px:
        return coarse
    fine = extended(difference, known)
    weight = np.clip(1 - (depth(mask, feather_px + 1) - 0.5) / feather_px, 0, 1).astype(np.float32)
    return coarse + weight * (fine - coarse)


def extended(values: FloatImages, known: NDArray[np.bool_], *, skip: int = 0) -> FloatImages:
    """C×H×W values, where they are known, led on to where they are not.

    Means over blocks of 2, 4, 8 … px are taken of what is known in them, until all blocks know something; then each
    unknown pixel takes the smooth enlargement of the coarser means.

    skip: leave out so many of the finest levels, known pixels included: gives means over blocks of 2^skip px.
    """
    levels = [(values.astype(np.float32), known.astype(np.float32))]
    while levels[-1][1].min() == 0 or len(levels) <= skip:
        below = halved(*levels[-1])
        if below[1].shape == levels[-1][1].shape:  # one pixel is left
            break
        levels.append(below)
    result = levels[-1][0]
    for level in reversed(range(len(levels) - 1)):
        finer, weight = levels[level]
        enlarged = doubled(result, finer.shape[-2:])
        share = np.minimum(weight, 1) if level >= skip else np.float32(0)
        result = share * finer + (1 - share) * enlarged
    return result


def halved(values: FloatImages, weight: FloatImages) -> tuple[FloatImages, FloatImages]:
    """Weighted means over blocks of 2×2, and the blocks' weights, at most 1."""

    def blocks(image: FloatImages) -> FloatImages:
        padding = [(0, 0)] * (image.ndim - 2) + [(0, length % 2) for length in image.shape[-2:]]
        padded = np.pad(image, padding)
        rows, columns = padded.shape[-2:]
        sums: FloatImages = padded.reshape(*image.shape[:-2], rows // 2, 2, columns // 2, 2).sum(axis=(-3, -1))
        return sums

    total = blocks(weight)
    means: FloatImages = (blocks(values * weight) / np.maximum(total, 1e-8)).astype(np.float32)
    return means, np.minimum(total, np.float32(1))


def doubled(image: FloatImages, size: tuple[int, ...]) -> FloatImages:
    """C×h×w to C×H×W, H and W being twice h and w or one less, bilinearly."""
    for axis in (-2, -1):
        moved = np.moveaxis(image, axis, -1)
        padded = np.concatenate([moved[..., :1], moved, moved[..., -1:]], axis=-1)
        near, far = np.float32(0.75), np.float32(0.25)
        even = near * moved + far * padded[..., :-2]
        odd = near * moved + far * padded[..., 2:]
        both: FloatImages = np.stack([even, odd], axis=-1).reshape(*moved.shape[:-1], -1).astype(np.float32)
        image = np.moveaxis(both, -1, axis)
    return image[..., : size[-2], : size[-1]]


def depth(mask: Mask, most: int) -> NDArray[np.int64]:
    """How many steps each pixel of the hole is from one outside it, diagonal ones included, at most `most`."""
    inside = mask
    steps = mask.astype(np.int64)
    for _ in range(most - 1):
        padded = np.pad(inside, 1, constant_values=True)  # beyond the border nothing is known either
        rows = padded[:-2] & padded[1:-1] & padded[2:]
        inside = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
        if not inside.any():
            break
        steps += inside
    return steps


def dilated(mask: Mask, pixels: int) -> Mask:
    """The hole grown by so many pixels to all sides, corners included."""
    if not pixels:
        return mask
    result = mask
    for axis in (0, 1):
        padded = np.pad(result, [(pixels, pixels) if a == axis else (0, 0) for a in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * pixels + 1, axis=axis)
        result = windows.max(axis=-1)
    return result
