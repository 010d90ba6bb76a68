"""Images filtered with kernels, each with its own, mirrored at the border as OpenCV does."""

import torch
import torch.nn.functional as F
from torch import Tensor


def correlate(images: Tensor, kernels: Tensor) -> Tensor:
    """N×C×H×W → the same shape: every channel of image n is weighted with kernel n, as with `cv2.filter2D`.

    kernels: N×h×w, or 1×h×w for all of them; h and w odd. Beyond the border the image goes on mirrored about its
        outermost pixels, however small it is.
    """
    batch, channels, height, width = images.shape
    taps_y, taps_x = kernels.shape[-2:]
    padded = images[:, :, _mirrored(height, taps_y // 2, images.device)]
    padded = padded[..., _mirrored(width, taps_x // 2, images.device)]
    each = kernels.expand(batch, -1, -1).repeat_interleave(channels, dim=0).unsqueeze(1)
    filtered = F.conv2d(padded.reshape(1, batch * channels, *padded.shape[-2:]), each, groups=batch * channels)
    return filtered.view(images.shape)


def _mirrored(length: int, margin: int, device: torch.device) -> Tensor:
    """The places 0 … length − 1 with `margin` more on either side."""
    period = max(1, 2 * (length - 1))
    place = torch.arange(-margin, length + margin, device=device) % period
    return torch.minimum(place, period - place) if length > 1 else torch.zeros_like(place)
