"""Filter a batch of images, each with its own kernel, with OpenCV's mirrored border (BORDER_REFLECT_101)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def correlate(images: Tensor, kernels: Tensor) -> Tensor:
    """Correlate every channel of image n with kernel n, like `cv2.filter2D`: N×C×H×W → N×C×H×W.

    kernels: N×h×w, or 1×h×w for one kernel for all images; h and w are odd. The image is mirrored about its outermost
        pixels, repeatedly if it is smaller than the kernel.
    """
    batch, channels, height, width = images.shape
    taps_y, taps_x = kernels.shape[-2:]
    padded = images[:, :, _mirrored(height, taps_y // 2, images.device)]
    padded = padded[..., _mirrored(width, taps_x // 2, images.device)]
    each = kernels.expand(batch, -1, -1).repeat_interleave(channels, dim=0).unsqueeze(1)
    filtered = F.conv2d(padded.reshape(1, batch * channels, *padded.shape[-2:]), each, groups=batch * channels)
    return filtered.view(images.shape)


def _mirrored(length: int, margin: int, device: torch.device) -> Tensor:
    """Return the indices 0 … length − 1 with `margin` mirrored indices before and after them."""
    period = max(1, 2 * (length - 1))
    index = torch.arange(-margin, length + margin, device=device) % period
    return torch.minimum(index, period - index) if length > 1 else torch.zeros_like(index)
