"""Changes of size with a low-pass FIR filter, of plain convolutions that export to ONNX.

Zeros are inserted between the pixels, the filter is applied, and every k-th pixel is kept ("upfirdn"). Signal
processing says which filter lets no aliasing through; [1, 3, 3, 1] is that of StyleGAN2 and R3GAN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

BILINEAR_TAPS = (1.0, 3.0, 3.0, 1.0)
"""The filter of StyleGAN2 and R3GAN, of two pixels an axis: doubling with it is bilinear interpolation."""

Padding = tuple[int, int, int, int]
"""Pixels that are added (left, right, top, bottom), of zeros; fewer than 0 are cropped."""


def fir_filter(taps: Sequence[float], *, separable: bool = False) -> Tensor:
    """Return the filter of these taps with the sum 1: 2-D as the outer product, or 1-D to be applied along each axis.

    A separable filter is quicker from about 8 taps on.
    """
    # As the filter is a constant, it has values even where a network is made on "meta", without weights.
    row = torch.from_numpy(np.asarray(taps, np.float32) / np.sum(taps, dtype=np.float32))
    return row if separable else torch.outer(row, row)


def upfirdn(
    x: Tensor, filter: Tensor, *, up: int = 1, down: int = 1, padding: Padding = (0, 0, 0, 0), gain: float = 1.0
) -> Tensor:
    """Insert up - 1 zeros after each pixel, pad, convolve with the filter and keep every down-th pixel.

    x: N×C×H×W.
    filter: 2-D, or 1-D and applied along both axes. It is a convolution in the sense of signal processing: the
        filter is mirrored, which changes nothing if it is symmetric.
    gain: factor of the result; up² keeps the brightness of an image that is enlarged.
    Returns N×C×h×w with h = ⌊(up·H + top + bottom - rows of the filter) / down⌋ + 1, and w alike.
    """
    left, right, top, bottom = padding
    filter = filter.to(x).flip(tuple(range(filter.ndim)))
    if filter.ndim == 2:
        return _upfirdn(x, filter * gain, (up, up), (down, down), padding)
    x = _upfirdn(x, filter[None, :] * gain, (1, up), (1, down), (left, right, 0, 0))
    return _upfirdn(x, filter[:, None], (up, 1), (down, 1), (0, 0, top, bottom))


def _upfirdn(x: Tensor, kernel: Tensor, up: tuple[int, int], down: tuple[int, int], padding: Padding) -> Tensor:
    """Do as `upfirdn` with factors (vertical, horizontal) and a 2-D kernel that is already mirrored."""
    samples, channels, height, width = x.shape
    if up != (1, 1):
        x = functional.pad(x.reshape(samples, channels, height, 1, width, 1), (0, up[1] - 1, 0, 0, 0, up[0] - 1))
        x = x.reshape(samples, channels, height * up[0], width * up[1])
    if any(padding):
        x = functional.pad(x, padding)
    return functional.conv2d(x, kernel.expand(channels, 1, *kernel.shape), stride=down, groups=channels)


def upsample(x: Tensor, filter: Tensor, factor: int = 2) -> Tensor:
    """Enlarge images or features N×C×H×W by a factor. The mean of an image stays, but for its border."""
    (top, bottom), (left, right) = (
        ((taps + factor - 1) // 2, (taps - factor) // 2) for taps in (filter.shape[0], filter.shape[-1])
    )
    return upfirdn(x, filter, up=factor, padding=(left, right, top, bottom), gain=factor**2)


def downsample(x: Tensor, filter: Tensor, factor: int = 2) -> Tensor:
    """Reduce images or features N×C×H×W by a factor, to N×C×⌊H/factor⌋×⌊W/factor⌋ for a filter of even length."""
    (top, bottom), (left, right) = (
        ((taps - factor + 1) // 2, (taps - factor) // 2) for taps in (filter.shape[0], filter.shape[-1])
    )
    return upfirdn(x, filter, down=factor, padding=(left, right, top, bottom))


class Filtered(nn.Module):
    """A module with a filter, by default the bilinear one. Checkpoints do not hold it."""

    filter: Tensor

    def __init__(self, filter: Tensor | None = None) -> None:
        super().__init__()
        filter = fir_filter(BILINEAR_TAPS) if filter is None else filter
        self.register_buffer("filter", filter, persistent=False)


class Upsample(Filtered):
    """Doubles the size of images or features with a filter: N×C×H×W → N×C×2H×2W."""

    def forward(self, x: Tensor) -> Tensor:
        return upsample(x, self.filter)


class Downsample(Filtered):
    """Halves the size of images or features with a filter: N×C×H×W → N×C×⌊H/2⌋×⌊W/2⌋."""

    def forward(self, x: Tensor) -> Tensor:
        return downsample(x, self.filter)
