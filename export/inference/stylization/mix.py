"""Mix several style pictures to one. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gan_tasks.datasets.errors import UserError, counted
from gan_tasks.datasets.images import Pixels, fit_channels
from gan_tasks.export.models.resizing import resized

RGB = 3


def mix_styles(styles: Sequence[Pixels], weights: Sequence[float] = ()) -> Pixels:
    """Return one style picture of several, for a model whose style is the statistics of a picture.

    The pictures stand side by side, in the height of the first one, and each takes a share of the area by its weight:
    a wider one is cropped at both sides, and a narrower one is continued by its mirror image. A model then sees the
    statistics of all pictures together. The mean of its features is the weighted mean of theirs; the deviation also
    counts how far their means are apart, unlike the mixture of the AdaIN paper, which is the weighted mean of their
    deviations.

    Args:
        styles: H×W×C pixels of one type, uint8 or uint16. weights: a number from 0 for each; by default equal ones.

    Returns H×W×3 pixels of that type, or the picture itself if only one has a weight above 0.
    Raises UserError for another number of weights, for pictures of two types, and if no weight is above 0.
    """
    weights = tuple(weights) or (1.0,) * len(styles)
    if len(weights) != len(styles):
        raise UserError(
            f"{counted(len(styles), 'style picture')} and {counted(len(weights), 'weight')}: give one for each"
        )
    used = [(style, weight) for style, weight in zip(styles, weights, strict=True) if weight > 0]
    if not used:
        raise UserError("no style picture has a weight above 0: give a style picture, and a weight for it")
    if len(used) == 1:
        return used[0][0]
    if len(types := {style.dtype for style, _ in used}) > 1:
        raise UserError(f"the style pictures are {' and '.join(sorted(map(str, types)))}: give pictures of one depth")
    height = used[0][0].shape[0]
    pictures = [in_height(fit_channels(style, RGB), height) for style, _ in used]
    share = sum(picture.shape[1] for picture in pictures) / sum(weight for _, weight in used)
    widths = [max(1, round(share * weight)) for _, weight in used]
    return np.concatenate([in_width(each, width) for each, width in zip(pictures, widths, strict=True)], axis=1)


def in_height(picture: Pixels, height: int) -> Pixels:
    """Resize a picture to a height, with its aspect ratio."""
    return resized(picture, (height, max(1, round(picture.shape[1] * height / picture.shape[0]))), "bicubic")


def in_width(picture: Pixels, width: int) -> Pixels:
    """Crop a picture at both sides, or continue it on the right by its mirror image, again and again."""
    own = picture.shape[1]
    if width <= own:
        return picture[:, (own - width) // 2 :][:, :width]
    columns = np.arange(width) % (2 * own)
    return picture[:, np.minimum(columns, 2 * own - 1 - columns)]
