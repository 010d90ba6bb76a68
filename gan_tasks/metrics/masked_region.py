"""Full-reference metrics over the masked region alone, for inpainting.

Over the whole image the unmasked pixels are always right, so that a small masked region that is filled badly would
hardly change the value.
"""

import torch
from torch import Tensor

from gan_tasks.metrics.reference import SSIM_WINDOW_PX, crop_border, ssim_map


@torch.no_grad()
def masked_metrics(image: Tensor, target: Tensor, mask: Tensor, *, border_px: int = 0) -> dict[str, Tensor]:
    """Return "l1_masked", "psnr_masked" and "ssim_masked", N values each, defined as in `reference`.

    L1 and PSNR are computed over the masked pixels, and SSIM is the mean over the windows whose centre is masked. A
    value is nan if there are no such pixels or windows.

    Args:
        image, target: N×C×H×W in [-1, 1].
        mask: N×1×H×W bool, True for masked pixels.
        border_px: pixels that are left out on each side.

    Raises ValueError if the sizes differ.
    """
    if image.shape != target.shape or mask.shape != (len(image), 1, *image.shape[-2:]):
        raise ValueError(
            f"cannot compare {tuple(image.shape)} with {tuple(target.shape)} in a mask of {tuple(mask.shape)}: "
            "expected two images N×C×H×W of the same shape and a mask N×1×H×W"
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
    """Return the N means of values N×C×H×W over the mask N×1×H×W (bool); nan for an empty mask."""
    total = torch.where(mask, values, 0).sum(dim=(1, 2, 3), dtype=torch.float64)
    return (total / (mask.sum(dim=(1, 2, 3)) * values.shape[1])).float()
