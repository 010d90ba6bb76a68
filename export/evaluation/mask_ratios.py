"""How good answers are by the size of the hole: the larger it is, the less there is to go by. Imports no torch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from gan_tasks.export.evaluation.result import Figure, MaskRatioGroup, Subject, summarise
from gan_tasks.metrics.catalogue import L1_MASKED, PSNR, PSNR_MASKED, SSIM

BORDERS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0)
"""Of the groups, as shares of an image: over the first and up to the second one, and so on (Liu et al. 2018,
https://arxiv.org/abs/1804.07723, and after it the field, up to 60 %)."""
METRICS = (PSNR_MASKED, L1_MASKED, PSNR, SSIM)


def by_mask_ratio(shares: Sequence[float], subjects: Sequence[Subject]) -> tuple[MaskRatioGroup, ...]:
    """Those of the groups that occur, small holes first; images without a hole are in none.

    Args:
        shares: of each image that is hole, in the order of the subjects' values.
    """
    group_of = [bisect_left(BORDERS, share) for share in shares]
    groups = []
    for number in range(1, len(BORDERS)):
        places = [place for place, group in enumerate(group_of) if group == number]
        if places:
            figures = {subject.name: figures_of(subject, places) for subject in subjects}
            groups.append(MaskRatioGroup(BORDERS[number - 1], BORDERS[number], len(places), figures))
    return tuple(groups)


def figures_of(subject: Subject, places: Sequence[int]) -> dict[str, Figure]:
    """Over some of the images; measures without a value in any of them are left out."""
    figures = {}
    for metric in METRICS:
        values = [subject.per_image[metric.key][place] for place in places if metric.key in subject.per_image]
        if not np.isnan(values).all():
            figures[metric.key] = summarise(values)
    return figures
