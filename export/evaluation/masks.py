"""Evaluating models that inpaint: which masks they are given, and which of their pixels count."""

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
    """The task, not yet built, with masks that are read or drawn as the options say.

    Raises UserError where they ask for something of a task without masks.
    """
    if not options.asked:
        return task
    data = task.evaluation().masks
    if data is None:
        raise UserError(
            f"{task.name} has no masks: leave out --masks, --mask-kinds, --min-mask-ratio and --max-mask-ratio"
        )
    other_masks = options.masks or options.mask_kinds  # for which the training's bounds were not meant
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
    """For a split of which only the images are used: the mask files may belong to another one."""
    data = task.evaluation().masks
    return task if data is None or data.masks is None else task.with_data(replace(data, masks=None))


def mask_of(spec: ModelSpec, inputs: Sequence[FloatImages]) -> Mask | None:
    """H×W, of a sample's inputs: the mask of what is to be filled; None for a model that does not inpaint."""
    if spec.use != "inpaint":
        return None
    place = next(index for index, given in enumerate(spec.inputs) if given.kind == "mask")
    mask: Mask = inputs[place][0] > 0
    return mask


def with_known_pixels(output: FloatImages, image: FloatImages, mask: Mask | None) -> FloatImages:
    """The output, C×H×W, with the known pixels of the image: only masked pixels are the model's own."""
    if mask is None:
        return output
    known = fit_channels(image.transpose(1, 2, 0), len(output)).transpose(2, 0, 1)
    return np.where(mask, output, known).astype(np.float32)


def with_gray_mask(image: FloatImages, mask: Mask | None) -> FloatImages:
    """The image, gray where it is masked."""
    return image if mask is None else np.where(mask, np.float32(0), image)
