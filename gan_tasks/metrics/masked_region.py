"""Full-reference measures over the hole of an image alone.

Over the whole image what was given counts as right, and a small hole that is filled badly passes for a good image.
"""

import torch
from torch import Tensor

from gan_tasks.metrics.reference import SSIM_WINDOW_PX, crop_border, ssim_map


@torch.no_grad()
def masked_metrics(image: Tensor, target: Tensor, mask: Tensor, *, border_px: int = 0) -> dict[str, Tensor]:
    """{"l1_masked", "psnr_masked", "ssim_masked"}, N values each, as `reference` has them for whole images.

    L1 and PSNR are those of the hole's pixels; SSIM is the mean over windows with their centre in the hole. A value
    is nan where there is nothing to measure: no hole, or none in reach of a window's centre.

    Args:
        image, target: N×C×H×W in [-1, 1].
        hole: N×1×H×W bool, True where the image was missing.
        border_px: left out on each side.

    Raises ValueError where sizes differ.
    """
    if image.shape != target.shape or mask.shape != (len(image), 1, *image.shape[-2:]):
        raise ValueError(
            f"cannot measure {tuple(image.shape)} against {tuple(target.shape)} in a hole of {tuple(mask.shape)}"
        )
    image, target, mask = (crop_border(x, border_px) for x in (image, target, mask))
    difference = image.float() - target.float()
    similarity = torch.full((len(image),), torch.nan, device=image.device)
    if min(image.shape[-2:]) >= SSIM_WINDOW_PX:
        similarity = mean_in(crop_border(mask, SSIM_WINDOW_PX // 2), ssim_map(image, target))
    return {
        "l1_masked": mean_in(mask, difference.abs()) / 2,
        "psnr_masked": 10 * torch.log10(2**2 / mean_in(mask, difference.square())),
        "ssim_masked": similarity,
    }


def mean_in(mask: Tensor, values: Tensor) -> Tensor:
    """N means over the hole, N×1×H×W bool, of N×C×H×W values; nan where there is none."""
    total = torch.where(mask, values, 0).sum(dim=(1, 2, 3), dtype=torch.float64)
    return (total / (mask.sum(dim=(1, 2, 3)) * values.shape[1])).float()
