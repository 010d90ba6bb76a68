"""Luma and chroma of ITU-R BT.601: colours of a given luma that stay inside [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from gan_tasks.datasets.images.pixels import REC_601

RED, GREEN, BLUE = map(float, REC_601)
"""Luma weights: the gray version of a colour photograph has this luma."""
SMALLEST_ROOM = 1e-5
"""Least distance of a luma from black and white, against division by 0. It is far below a level of 255."""


def chroma_of(image: Tensor) -> Tensor:
    """Return the chroma (Cb, Cr) of RGB images: N×3×H×W in [-1, 1] → N×2×H×W in [-0.5, 0.5]."""
    red, green, blue = ((image + 1) / 2).split(1, dim=1)
    luma = RED * red + GREEN * green + BLUE * blue
    return torch.cat([(blue - luma) / (2 * (1 - BLUE)), (red - luma) / (2 * (1 - RED))], dim=1)


def with_chroma(luma: Tensor, chroma: Tensor) -> Tensor:
    """Return RGB of this luma, and of this chroma as far as it fits into the range.

    Where a channel would leave its range, the chroma of the pixel is scaled towards gray until it does not: the luma
    and the hue stay as they are.

    Args:
        luma: N×1×H×W in [-1, 1].
        chroma: N×2×H×W, see `chroma_of`.

    Returns: N×3×H×W in [-1, 1].
    """
    luma = (luma + 1) / 2
    cb, cr = chroma.split(1, dim=1)
    red, blue = 2 * (1 - RED) * cr, 2 * (1 - BLUE) * cb
    green = -(RED * red + BLUE * blue) / GREEN  # so that the differences add nothing to the luma
    differences = (red, green, blue)
    above, below = (room.clamp(min=SMALLEST_ROOM) for room in (1 - luma, luma))
    excess = torch.ones_like(luma)
    for difference in differences:  # one after another, which takes less memory
        excess = torch.maximum(excess, torch.maximum(difference / above, -difference / below))
    return torch.cat([((luma + difference / excess) * 2 - 1).clamp(-1, 1) for difference in differences], dim=1)
