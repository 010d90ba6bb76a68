"""Evaluating models that fill holes: which holes they are given, and what of their answers counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gan_tasks.datasets.errors import UserError
from gan_tasks.datasets.images import fit_channels
from gan_tasks.datasets.inpainting import MaskedConfig
from gan_tasks.datasets.masks.draw import Hole
from gan_tasks.export.evaluation.options import HoleOptions
from gan_tasks.export.models.base import FloatImages
from gan_tasks.tasks.base import Task


def with_holes(task: Task[Any, Any], options: HoleOptions) -> Task[Any, Any]:
    """The task, not yet built, reading or drawing its holes as the options say.

    Raises UserError where they ask for something of a task whose data have no holes.
    """
    if not options.asked:
        return task
    data = getattr(task.config, "data", None)
    if not isinstance(data, MaskedConfig):
        raise UserError(f"{task.name} fills no holes: leave --masks, --mask-kinds, --min-hole and --max-hole out")
    other_holes = options.masks or options.mask_kinds  # for which the training's bounds were not meant
    least, most = (0.0, 1.0) if other_holes else (data.holes.min_hole, data.holes.max_hole)
    holes = replace(
        data.holes,
        mask_kinds=options.mask_kinds or data.holes.mask_kinds,
        min_hole=least if options.min_hole is None else options.min_hole,
        max_hole=most if options.max_hole is None else options.max_hole,
    )
    masks = None if options.mask_kinds else options.masks or data.masks
    return type(task)(replace(task.config, data=replace(data, holes=holes, masks=masks)))


def with_drawn_holes(task: Task[Any, Any]) -> Task[Any, Any]:
    """For a split of which the pictures alone are looked at: the mask files may belong to another one."""
    data = getattr(task.config, "data", None)
    if not isinstance(data, MaskedConfig) or data.masks is None:
        return task
    return type(task)(replace(task.config, data=replace(data, masks=None)))


def hole_of(task: Task[Any, Any], inputs: Sequence[FloatImages]) -> Hole | None:
    """H×W, of a sample's inputs; None for a task without masks."""
    return inputs[task.inputs.index("mask")][0] > 0 if "mask" in task.inputs else None


def given_back(answer: FloatImages, image: FloatImages, hole: Hole | None) -> FloatImages:
    """The answer, C×H×W, with what was given of the image as it was: only what is in the hole is the answer's own."""
    if hole is None:
        return answer
    given = fit_channels(image.transpose(1, 2, 0), len(answer)).transpose(2, 0, 1)
    return np.where(hole, answer, given).astype(np.float32)


def with_gray_hole(image: FloatImages, hole: Hole | None) -> FloatImages:
    """What a model is given, as a picture."""
    return image if hole is None else np.where(hole, np.float32(0), image)
