"""RealPLKSR, a generator for super-resolution with large kernels on a part of the channels.

Lee et al. 2024, https://arxiv.org/abs/2404.11848 (PLKSR). RealPLKSR is its form in https://github.com/neosr-project/neosr
and https://github.com/the-database/traiNNer-redux.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Residual
from gan_tasks.networks.super_resolution.convolutional import LARGEST_RECEPTIVE_FIELD
from gan_tasks.networks.super_resolution.dysample import DySample

PlkNorm = Literal["layer", "group", "both", "none"]
"""Layer norm of each pixel before the convolutions of a block, group norm over the image after them, or both."""
NORM_GROUPS = 4
"""Groups of channels of the group norm, in all published networks."""


class ChannelLayerNorm(nn.LayerNorm):
    """Layer norm of the channels of each pixel, N×C×H×W → the same shape (Ba et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class PartialLargeKernel(nn.Module):
    """Convolution of the first channels with a large kernel; the others stay. N×C×H×W → the same shape."""

    def __init__(self, channels: int, *, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        channels = self.conv.in_channels
        return torch.cat([self.conv(x[:, :channels]), x[:, channels:]], dim=1)


class ElementwiseAttention(nn.Module):
    """x · sigmoid(convolution of x), N×C×H×W → the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class RepeatedChannels(nn.Module):
    """Repeat each channel, N×C×H×W → N×(C·times)×H×W. A pixel shuffle of this is nearest-neighbour upsampling."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        repeated = x[:, :, None].expand(count, channels, self.times, height, width)
        return repeated.reshape(count, channels * self.times, height, width)


def plk_block(width: int, *, kernel: int, split: int, attention: bool, norm: PlkNorm) -> Residual:
    """Return a block x + layers(x). The layers that it does not have are identities, so that the numbers stay."""
    return Residual(
        ChannelLayerNorm(width) if norm in ("layer", "both") else nn.Identity(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.Mish(),
        nn.Conv2d(2 * width, width, 3, padding=1),
        PartialLargeKernel(split, kernel=kernel),
        ElementwiseAttention(width) if attention else nn.Identity(),
        nn.Conv2d(width, width, 1),
        nn.GroupNorm(NORM_GROUPS, width) if norm in ("group", "both") else nn.Identity(),
    )


def realplksr(
    channels: int = 3,
    *,
    scale: int = 4,
    width: int = 64,
    blocks: int = 28,
    kernel: int = 17,
    split: int | None = None,
    attention: bool = True,
    norm: PlkNorm = "layer",
    dysample_groups: int | None = None,
    dysample_conv: bool = True,
) -> Generator:
    """RealPLKSR: residual blocks at the input's size, added to the repeated input and upsampled.

    Args:
        channels: of the image, in and out.
        scale: output pixels per input pixel along a side.
        width: channels of the features; with group norm a multiple of NORM_GROUPS.
        blocks: number of residual blocks.
        kernel: side of the large kernel in pixels, an odd number.
        split: channels that the large kernel takes, the first ones; None: a quarter.
        attention: whether the blocks have element-wise attention.
        norm: layer norm works on each pixel alone. Group norm spans the image, so that tiles differ from it.
        dysample_groups: upsample with DySample, with this many groups; None: with a pixel shuffle.
        dysample_conv: whether DySample ends with a convolution.
    """
    spread = channels * scale**2
    last = nn.Conv2d(width, spread, 3, padding=1)
    per_block = 2 + kernel // 2 + attention
    plain = dysample_groups is None
    return Generator(
        stem=nn.Conv2d(channels, width, 3, padding=1),
        downs=[],
        body=nn.Sequential(
            *(
                plk_block(width, kernel=kernel, split=split or max(1, width // 4), attention=attention, norm=norm)
                for _ in range(blocks)
            )
        ),
        ups=[],
        head=nn.Sequential(last, nn.PixelShuffle(scale)) if plain else nn.Sequential(last),
        scale=scale,
        shortcut=nn.Upsample(scale_factor=scale) if plain else RepeatedChannels(scale**2),
        upsampler=None
        if dysample_groups is None
        else DySample(spread, channels if dysample_conv else None, scale=scale, groups=dysample_groups),
        receptive_field=min(per_block * blocks + 2, LARGEST_RECEPTIVE_FIELD),
    )
