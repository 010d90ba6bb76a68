"""Evaluating models that fill holes: which holes they are given, and what of their answers counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import fit_channels
from gan_tasks.datasets.inpainting import MaskedConfig
from gan_tasks.datasets.masks.draw import Mask
from gan_tasks.export.evaluation.options import MaskOptions
from gan_tasks.export.models.base import FloatImages
from gan_tasks.tasks.base import Task


def with_masks(task: Task[Any, Any], options: MaskOptions) -> Task[Any, Any]:
    """The task, not yet built, reading or drawing its holes as the options say.

    Raises UserError where they ask for something of a task whose data have no holes.
    """
    if not options.asked:
        return task
    data = getattr(task.config, "data", None)
    if not isinstance(data, MaskedConfig):
        raise UserError(
            f"{task.name} fills no holes: leave --masks, --mask-kinds, --min-mask-ratio and --max-mask-ratio out"
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
    return type(task)(replace(task.config, data=replace(data, drawn_masks=drawn_masks, masks=masks)))


def with_drawn_masks(task: Task[Any, Any]) -> Task[Any, Any]:
    """For a split of which the pictures alone are looked at: the mask files may belong to another one."""
    data = getattr(task.config, "data", None)
    if not isinstance(data, MaskedConfig) or data.masks is None:
        return task
    return type(task)(replace(task.config, data=replace(data, masks=None)))


def mask_of(task: Task[Any, Any], inputs: Sequence[FloatImages]) -> Mask | None:
    """H×W, of a sample's inputs; None for a task without masks."""
    return inputs[task.inputs.index("mask")][0] > 0 if "mask" in task.inputs else None


def given_back(answer: FloatImages, image: FloatImages, mask: Mask | None) -> FloatImages:
    """The answer, C×H×W, with what was given of the image as it was: only what is in the hole is the answer's own."""
    if mask is None:
        return answer
    given = fit_channels(image.transpose(1, 2, 0), len(answer)).transpose(2, 0, 1)
    return np.where(mask, answer, given).astype(np.float32)


def with_gray_mask(image: FloatImages, mask: Mask | None) -> FloatImages:
    """What a model is given, as a picture."""
    return image if mask is None else np.where(mask, np.float32(0), image)
