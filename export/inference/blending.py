"""Blend the output of an inpainting network into its surroundings. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.models.base import FloatImages

COARSE_LEVELS = 3
"""Number of halvings of the coarse level, whose differences count as colour and not as detail: blocks of 8 px."""


def correction(
    output: FloatImages, image: FloatImages, mask: Mask, *, feather_px: int, match_colour: bool
) -> FloatImages:
    """Return what to add to the network's output in the masked region, so that it fits its surroundings.

    Outside the mask the output differs a little from the image, mostly in colour. This difference is extrapolated
    smoothly into the masked region by pull-push interpolation (Gortler et al. 1996).

    Args:
        output, image: C×H×W, the network's whole output and the image.
        mask: H×W, True for masked pixels.
        feather_px: width of the strip inside the boundary in which the fine part of the difference fades out.
        match_colour: add the coarse part of the difference in the whole masked region.
    """
    known = ~mask
    difference = np.where(known, image - output, 0)
    coarse = extrapolated(difference, known, skip=COARSE_LEVELS) if match_colour else np.zeros_like(output)
    if not feather_px:
        return coarse
    fine = extrapolated(difference, known)
    weight = np.clip(1 - (depth(mask, feather_px + 1) - 0.5) / feather_px, 0, 1).astype(np.float32)
    return coarse + weight * (fine - coarse)


def extrapolated(values: FloatImages, known: NDArray[np.bool_], *, skip: int = 0) -> FloatImages:
    """Extrapolate C×H×W values from known pixels to unknown ones.

    The known values are averaged over blocks of 2, 4, 8 … px until every block has a value. Then each unknown pixel
    takes the smoothly upscaled mean of the next coarser level.

    skip: number of finest levels to leave out, also for known pixels. The result is means over blocks of 2^skip px.
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
        upscaled = doubled(result, finer.shape[-2:])
        known_weight = np.minimum(weight, 1) if level >= skip else np.float32(0)
        result = known_weight * finer + (1 - known_weight) * upscaled
    return result


def halved(values: FloatImages, weight: FloatImages) -> tuple[FloatImages, FloatImages]:
    """Return weighted means over blocks of 2×2, and the weights of the blocks, at most 1."""

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
    """Upscale C×h×w to C×H×W bilinearly, where H and W are twice h and w, or one less."""
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
    """Return the distance of each masked pixel to an unmasked one in steps, also diagonal, up to `most`."""
    inside = mask
    steps = mask.astype(np.int64)
    for _ in range(most - 1):
        padded = np.pad(inside, 1, constant_values=True)  # outside the image all pixels are unknown
        rows = padded[:-2] & padded[1:-1] & padded[2:]
        inside = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
        if not inside.any():
            break
        steps += inside
    return steps


def dilated(mask: Mask, pixels: int) -> Mask:
    """Return the mask dilated by this many pixels to all sides, also diagonally."""
    if not pixels:
        return mask
    result = mask
    for axis in (0, 1):
        padded = np.pad(result, [(pixels, pixels) if a == axis else (0, 0) for a in (0, 1)])
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * pixels + 1, axis=axis)
        result = windows.max(axis=-1)
    return result
