"""Full-reference measures over the hole of an image alone.

Over the whole image what was given counts as right, and a small hole that is filled badly passes for a good image.
"""

import torch
from torch import Tensor

from gan_tasks.metrics.reference import SSIM_WINDOW_PX, crop_border, ssim_map


@torch.no_grad()
def hole_measures(image: Tensor, target: Tensor, hole: Tensor, *, border_px: int = 0) -> dict[str, Tensor]:
    """{"l1_hole", "psnr_hole", "ssim_hole"}, N values each, as `reference` has them for whole images.

    L1 and PSNR are those of the hole's pixels; SSIM is the mean over windows with their centre in the hole. A value
    is nan where there is nothing to measure: no hole, or none in reach of a window's centre.

    Args:
        image, target: N×C×H×W in [-1, 1].
        hole: N×1×H×W bool, True where the image was missing.
        border_px: left out on each side.

    Raises ValueError where sizes differ.
    """
    if image.shape != target.shape or hole.shape != (len(image), 1, *image.shape[-2:]):
        raise ValueError(
            f"cannot measure {tuple(image.shape)} against {tuple(target.shape)} in a hole of {tuple(hole.shape)}"
        )
    image, target, hole = (crop_border(x, border_px) for x in (image, target, hole))
    difference = image.float() - target.float()
    similarity = torch.full((len(image),), torch.nan, device=image.device)
    if min(image.shape[-2:]) >= SSIM_WINDOW_PX:
        similarity = mean_in(crop_border(hole, SSIM_WINDOW_PX // 2), ssim_map(image, target))
    return {
        "l1_hole": mean_in(hole, difference.abs()) / 2,
        "psnr_hole": 10 * torch.log10(2**2 / mean_in(hole, difference.square())),
        "ssim_hole": similarity,
    }


def mean_in(hole: Tensor, values: Tensor) -> Tensor:
    """N means over the hole, N×1×H×W bool, of N×C×H×W values; nan where there is none."""
    total = torch.where(hole, values, 0).sum(dim=(1, 2, 3), dtype=torch.float64)
    return (total / (hole.sum(dim=(1, 2, 3)) * values.shape[1])).float()
