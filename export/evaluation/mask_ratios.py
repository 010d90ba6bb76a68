"""Metrics by mask ratio: inpainting gets harder as the masked share of the image grows. Imports no torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from gan_tasks.export.evaluation.result import Figure, MaskRatioGroup, Subject, summarise
from gan_tasks.metrics.catalogue import L1_MASKED, PSNR, PSNR_MASKED, SSIM

BORDERS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0)
"""Mask ratios between the groups: a group is over one border and up to the next one. The borders up to 60 % are those
of Liu et al. 2018, https://arxiv.org/abs/1804.07723, which later papers use too."""
METRICS = (PSNR_MASKED, L1_MASKED, PSNR, SSIM)
"""The metrics of each group."""


def by_mask_ratio(mask_ratios: Sequence[float], subjects: Sequence[Subject]) -> tuple[MaskRatioGroup, ...]:
    """Return the groups that have images, small masks first. Images without a mask are in no group.

    Args:
        mask_ratios: of each image, in the order of the subjects' values.
    """
    group_of = [bisect_left(BORDERS, mask_ratio) for mask_ratio in mask_ratios]
    groups = []
    for number in range(1, len(BORDERS)):
        places = [place for place, group in enumerate(group_of) if group == number]
        if places:
            figures = {subject.name: figures_of(subject, places) for subject in subjects}
            groups.append(MaskRatioGroup(BORDERS[number - 1], BORDERS[number], len(places), figures))
    return tuple(groups)


def figures_of(subject: Subject, places: Sequence[int]) -> dict[str, Figure]:
    """Summarise the metrics over some of the images; leave out metrics without a value for any of them."""
    figures = {}
    for metric in METRICS:
        values = [subject.per_image[metric.key][place] for place in places if metric.key in subject.per_image]
        if not np.isnan(values).all():
            figures[metric.key] = summarise(values)
    return figures
