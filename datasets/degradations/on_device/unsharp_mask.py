"""Unsharp masking of tensors, as Real-ESRGAN sharpens its training targets.

https://arxiv.org/abs/2107.10833, section 3.3
"""

import torch
from torch import Tensor

from gan_tasks.datasets.degradations.on_device.filters import correlate
from gan_tasks.datasets.degradations.unsharp_mask import AMOUNT, SIGMA_PX, TAPS, THRESHOLD


def sharpen(image: Tensor) -> Tensor:
    """Sharpen N×C×H×W in [0, 1]; return the same shape and range. `../unsharp_mask.py` does the same with arrays.

    Where the image differs from its blurred copy by more than a threshold, the difference is increased by half. The
    edges of this region are blurred.
    """
    detail = image - _blurred(image)
    edges = _blurred((detail.abs() > THRESHOLD).to(image))
    return image + edges * ((image + AMOUNT * detail).clamp(0, 1) - image)


def _blurred(image: Tensor) -> Tensor:
    steps = torch.arange(TAPS, device=image.device, dtype=image.dtype) - TAPS // 2
    bell = torch.exp(-(steps**2) / (2 * SIGMA_PX**2))
    bell = bell / bell.sum()
    return correlate(correlate(image, bell.view(1, 1, -1)), bell.view(1, -1, 1))
