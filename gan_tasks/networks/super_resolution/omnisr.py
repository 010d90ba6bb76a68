"""OmniSR: attention along space and along channels, within windows and across a grid over the whole image.

Wang et al. 2023, https://arxiv.org/abs/2304.10244
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Residual
from gan_tasks.networks.sizes import WholeImageLayer
from gan_tasks.networks.super_resolution.windows import window_positions

RECEPTIVE_FIELD = 24
"""Declared receptive-field radius in pixels. Attention across the grid spans the image, so tiles differ from it.

Measured with a small network after 119 steps of training, on a photograph in tiles of 192 pixels: at most 0.7 levels
of 255 from the output of the whole image. With random weights tiles differ without limit: each grid has other pixels.
"""
HEADS = 4
"""Attention heads of every attention."""
SMALLEST_GATED = 15
"""Smallest side of the features that `PixelGates` accepts, in pixels."""

GATE_STRIDE = 6
"""Distance of the positions at which `PixelGates` looks at a wide surrounding, in pixels."""


def omnisr(
    channels: int = 3,
    *,
    scale: int = 4,
    width: int = 64,
    groups: int = 5,
    blocks: int = 1,
    window: int = 8,
    bias: bool = True,
) -> Generator:
    """Build OmniSR for images in [0, 1].

    Args:
        channels: of the image.
        scale: output pixels per input pixel along a side.
        width: channels of the features, a multiple of HEADS.
        groups: number of residual groups.
        blocks: number of blocks in each group.
        window: side of the attention windows in pixels, and number of rows and columns of the grid.
        bias: whether the convolutions outside the blocks have a bias.
    """

    def group() -> nn.Module:
        layers = [block(width, window) for _ in range(blocks)]
        return nn.Sequential(Residual(*layers, nn.Conv2d(width, width, 1, bias=bias)), PixelGates(width))

    return Generator(
        stem=nn.Sequential(PadToMultiple(window), nn.Conv2d(channels, width, 3, padding=1, bias=bias)),
        downs=[],
        body=Residual(*(group() for _ in range(groups)), nn.Conv2d(width, width, 3, padding=1, bias=bias)),
        ups=[],
        head=nn.Sequential(nn.Conv2d(width, channels * scale**2, 3, padding=1, bias=bias), nn.PixelShuffle(scale)),
        scale=scale,
        minimum_size=(math.ceil(SMALLEST_GATED / window) - 1) * window + 1,
        receptive_field=RECEPTIVE_FIELD,
        tile_multiple=math.lcm(window, GATE_STRIDE),
    )


def block(width: int, window: int) -> nn.Module:
    """Return a block: local convolutions, and four attentions, each before a feed-forward network."""
    local = Residual(
        nn.Conv2d(width, width, 1),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.GELU(),
        ChannelGates(width),
        nn.Conv2d(width, width, 1),
    )
    layers: list[nn.Module] = [local]
    for grid in (False, True):
        layers += [
            Residual(ChannelNorm(width, eps=1e-5), SpatialAttention(width, window, grid=grid)),
            Residual(ChannelNorm(width), GatedFeedForward(width)),
            Residual(ChannelNorm(width), ChannelAttention(width, window, grid=grid)),
            Residual(ChannelNorm(width), GatedFeedForward(width)),
        ]
    return nn.Sequential(*layers)


class PadToMultiple(nn.Module):
    """Pad N×C×H×W with zeros at the bottom and on the right, so that H and W are multiples of `multiple`."""

    def __init__(self, multiple: int) -> None:
        super().__init__()
        self.multiple = multiple

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        # Written as a count times the multiple, so that an export with free sizes knows that it can be divided.
        rows, columns = ((side + self.multiple - 1) // self.multiple * self.multiple for side in (height, width))
        return functional.pad(x, (0, columns - width, 0, rows - height))


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel of N×C×H×W."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__(channels, eps)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelGates(WholeImageLayer):
    """Multiply each channel of N×C×H×W with a gate (squeeze and excitation, Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 4
        self.gates = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.SiLU(),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        gates: Tensor = self.gates(x.mean(dim=(2, 3)))
        return x * gates[:, :, None, None]


class PixelGates(nn.Module):
    """Multiply each value of N×C×H×W with a gate that sees a wide surrounding (ESA, Liu et al. 2020).

    H and W are at least SMALLEST_GATED.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(channels // 4, 16)
        self.reduce = nn.Conv2d(channels, hidden, 1)
        self.near = nn.Conv2d(hidden, hidden, 1)
        self.wide = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, stride=2), nn.MaxPool2d(7, stride=3), nn.Conv2d(hidden, hidden, 3, padding=1)
        )
        self.expand = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        wide = functional.interpolate(self.wide(reduced), x.shape[-2:], mode="bilinear", align_corners=False)
        gates: Tensor = self.expand(wide + self.near(reduced)).sigmoid()
        return x * gates


class GatedFeedForward(nn.Module):
    """Feed-forward network with a depthwise convolution; half of its channels gate the other half. N×C×H×W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
            nn.Conv2d(2 * channels, 2 * channels, 3, padding=1, groups=2 * channels, bias=False),
        )
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gates, features = self.layers(x).chunk(2, dim=1)
        y: Tensor = self.project(functional.gelu(gates) * features)
        return y


class SpatialAttention(nn.Module):
    """Attention between window² pixels, N×C×H×W → the same shape, with H and W multiples of `window`.

    grid: attend between pixels of a grid over the whole image, H / window rows and W / window columns apart, instead
        of neighbours.
    """

    def __init__(self, channels: int, window: int, *, grid: bool) -> None:
        super().__init__()
        self.window = window
        self.grid = grid
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.position_biases = nn.Embedding((2 * window - 1) ** 2, HEADS)
        self.project = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        window, depth = self.window, channels // HEADS
        down, across = height // window, width // window
        qkv = self.qkv(x.permute(0, 2, 3, 1))
        if self.grid:
            qkv = qkv.reshape(n, window, down, window, across, 3, HEADS, depth).permute(5, 0, 2, 4, 6, 1, 3, 7)
        else:
            qkv = qkv.reshape(n, down, window, across, window, 3, HEADS, depth).permute(5, 0, 1, 3, 6, 2, 4, 7)
        q, k, v = qkv.flatten(5, 6).flatten(2, 3).unbind()  # N×windows×heads×pixels×C
        scores = q * depth**-0.5 @ k.transpose(-2, -1) + self.bias()
        y = (scores.softmax(dim=-1) @ v).view(n, down, across, HEADS, window, window, depth)
        y = y.permute(0, 4, 1, 5, 2, 3, 6) if self.grid else y.permute(0, 1, 4, 2, 5, 3, 6)
        projected: Tensor = self.project(y.reshape(n, height, width, channels))
        return projected.permute(0, 3, 1, 2)

    def bias(self) -> Tensor:
        """Return the bias of the scores, heads×pixels×pixels, by the offset between two pixels."""
        positions = window_positions(self.window, self.window, self.position_biases.weight.device)
        biases: Tensor = self.position_biases(positions)
        return biases.permute(2, 0, 1)


class ChannelAttention(nn.Module):
    """Attention between the channels of each head, N×C×H×W → the same shape, with H and W multiples of `window`.

    The scores are those of the pixels of a window.

    grid: of the pixels at the same place in all windows of the image instead.
    """

    def __init__(self, channels: int, window: int, *, grid: bool) -> None:
        super().__init__()
        self.window = window
        self.grid = grid
        self.temperature = nn.Parameter(torch.ones(HEADS, 1, 1))
        self.qkv = nn.Sequential(
            nn.Conv2d(channels, 3 * channels, 1, bias=False),
            nn.Conv2d(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False),
        )
        self.project = nn.Conv2d(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, channels, height, width = x.shape
        window = self.window
        down, across = height // window, width // window
        qkv = self.qkv(x).reshape(n, 3, HEADS, channels // HEADS, down, window, across, window)
        order = (1, 0, 5, 7, 2, 3, 4, 6) if self.grid else (1, 0, 4, 6, 2, 3, 5, 7)
        qkv = qkv.permute(order)  # 3×N×groups×heads×C×pixels, groups and pixels with two axes each
        q, k, v = qkv.flatten(6, 7).unbind()
        scores = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)
        y = (scores * self.temperature).softmax(dim=-1) @ v
        y = y.unflatten(-1, qkv.shape[-2:])  # N×groups×heads×C×pixels
        y = y.permute(0, 3, 4, 5, 1, 6, 2) if self.grid else y.permute(0, 3, 4, 1, 5, 2, 6)
        projected: Tensor = self.project(y.reshape(n, channels, height, width))
        return projected
