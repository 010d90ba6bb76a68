"""Masks in the evaluation of inpainting models: choose them, and put unmasked pixels back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import fit_channels
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.evaluation.options import MaskOptions
from gan_tasks.export.models.base import FloatImages
from gan_tasks.spec import ModelSpec
from gan_tasks.tasks.base import Task


def with_masks(task: Task[Any, Any], options: MaskOptions) -> Task[Any, Any]:
    """Return the task with masks that are read or drawn as the options say.

    Raises UserError if mask options are given for a task without masks.
    """
    if not options.asked:
        return task
    data = task.evaluation().masks
    if data is None:
        raise UserError(
            f"{task.name} has no masks: leave out --masks, --mask-kinds, --min-mask-ratio and --max-mask-ratio"
        )
    other_masks = options.masks or options.mask_kinds  # the mask ratios of the training do not apply to these
    least, most = (0.0, 1.0) if other_masks else (data.drawn_masks.min_mask_ratio, data.drawn_masks.max_mask_ratio)
    drawn_masks = replace(
        data.drawn_masks,
        mask_kinds=options.mask_kinds or data.drawn_masks.mask_kinds,
        min_mask_ratio=least if options.min_mask_ratio is None else options.min_mask_ratio,
        max_mask_ratio=most if options.max_mask_ratio is None else options.max_mask_ratio,
    )
    masks = None if options.mask_kinds else options.masks or data.masks
    return task.with_data(replace(data, drawn_masks=drawn_masks, masks=masks))


def with_drawn_masks(task: Task[Any, Any]) -> Task[Any, Any]:
    """Return the task without mask files, to read a split whose masks are not used and may have no files."""
    data = task.evaluation().masks
    return task if data is None or data.masks is None else task.with_data(replace(data, masks=None))


def mask_of(spec: ModelSpec, inputs: Sequence[FloatImages]) -> Mask | None:
    """Return the mask of a sample's inputs, H×W, True for masked pixels; None for a model that does not inpaint."""
    if spec.use != "inpaint":
        return None
    place = next(index for index, given in enumerate(spec.inputs) if given.kind == "mask")
    mask: Mask = inputs[place][0] > 0
    return mask


def with_known_pixels(output: FloatImages, image: FloatImages, mask: Mask | None) -> FloatImages:
    """Return the output, C×H×W, with the unmasked pixels of the image put back."""
    if mask is None:
        return output
    known = fit_channels(image.transpose(1, 2, 0), len(output)).transpose(2, 0, 1)
    return np.where(mask, output, known).astype(np.float32)


def with_gray_mask(image: FloatImages, mask: Mask | None) -> FloatImages:
    """Return the image with gray masked pixels."""
    return image if mask is None else np.where(mask, np.float32(0), image)
