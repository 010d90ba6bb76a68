"""DAT, the Dual Aggregation Transformer: blocks that attend along space and along channels in turn.

Chen et al. 2023, https://arxiv.org/abs/2308.03364. Inside the body, features are N×H×W×C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.sizes import WholeImageLayer
from gan_tasks.networks.super_resolution.convolutional import enlargements, grow
from gan_tasks.networks.super_resolution.windows import MASKED, window_positions

RECEPTIVE_FIELD = 48
"""Declared receptive-field radius in pixels. Attention along channels spans the image, so tiles differ from it.

Measured with the published DAT-light on a photograph: with this radius the smallest tiles have 256 × 256 pixels, and
their output differs from that of the whole image by at most 1.6 levels of 255. Tiles of 128 pixels differ by 2.6
levels, and by 7.4 levels if their windows are not at the same places.
"""
RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean of the training images (DIV2K), in [0, 1]. It is subtracted from color images."""


class Window(NamedTuple):
    """Size of an attention window in pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class GroupSize:
    """Sizes of a residual group."""

    blocks: int
    spatial_heads: int
    """Attention heads of each of the two windows of a spatial attention."""
    channel_heads: int
    """Attention heads of a channel attention."""


@dataclass(frozen=True)
class BlockSize:
    """Sizes that all blocks of a network share."""

    width: int
    """Channels of the features."""
    hidden: int
    """Channels inside the feed-forward network."""
    window: Window
    """Window of the first half of the channels. Its height and width are swapped for the second half."""
    qkv_bias: bool
    """Whether queries, keys and values have a bias."""


DAT_GROUPS, DAT_BLOCK = (GroupSize(6, 3, 6),) * 6, BlockSize(180, 720, Window(8, 32), True)
"""Sizes of the largest published network."""


def dat(
    channels: int = 3,
    *,
    scale: int = 2,
    groups: Sequence[GroupSize] = DAT_GROUPS,
    block: BlockSize = DAT_BLOCK,
    bottleneck: bool = False,
    tail_width: int | None = 64,
) -> Generator:
    """Build DAT for images in [0, 1].

    Args:
        channels: of the image.
        scale: output pixels per input pixel along a side. It is 3 or a power of 2 if there is a `tail_width`.
        bottleneck: each group ends with three convolutions, of width / 4 channels between them, instead of one.
        tail_width: channels of the features while they are enlarged step by step. None: one convolution computes all
            pixels of the output, as in DAT-light.

    Raises ValueError for any other scale.
    """
    width = block.width
    ups: list[nn.Module] = []
    if tail_width is None:
        head: list[nn.Module] = [nn.Conv2d(width, channels * scale**2, 3, padding=1), nn.PixelShuffle(scale)]
    else:
        steps = enlargements(scale)
        ups.append(nn.Sequential(nn.Conv2d(width, tail_width, 3, padding=1), nn.LeakyReLU(inplace=True)))
        ups += [nn.Sequential(grow(tail_width, step), nn.PixelShuffle(step)) for step in steps]
        head = [nn.Conv2d(tail_width, channels, 3, padding=1)]
    mean = RGB_MEAN if channels == len(RGB_MEAN) else (0.0,)
    return Generator(
        stem=nn.Sequential(Shift(mean, -1.0), nn.Conv2d(channels, width, 3, padding=1)),
        downs=[],
        body=Body([Group(number, size, block, bottleneck) for number, size in enumerate(groups)], width, bottleneck),
        ups=ups,
        head=nn.Sequential(*head, Shift(mean, 1.0)),
        scale=scale,
        receptive_field=RECEPTIVE_FIELD,
        tail_receptive_field=len(ups) + 1,
        tile_multiple=max(block.window),
    )


class Shift(nn.Module):
    """Add sign · values to the channels of N×C×H×W."""

    def __init__(self, values: tuple[float, ...], sign: float) -> None:
        super().__init__()
        self.values = [sign * value for value in values]

    def forward(self, x: Tensor) -> Tensor:
        return x + x.new_tensor(self.values).view(-1, 1, 1)


class Body(nn.Module):
    """Residual groups between two norms, N×C×H×W → the same shape."""

    def __init__(self, groups: Sequence[nn.Module], width: int, bottleneck: bool) -> None:
        super().__init__()
        self.first_norm = nn.LayerNorm(width)
        self.groups = nn.Sequential(*groups)
        self.last_norm = nn.LayerNorm(width)
        self.conv = closing_convs(width, bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        y = self.last_norm(self.groups(self.first_norm(channels_last(x))))
        z: Tensor = x + self.conv(channels_first(y))
        return z


class Group(nn.Module):
    """A residual group, N×H×W×C → the same shape."""

    def __init__(self, number: int, size: GroupSize, block: BlockSize, bottleneck: bool) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                Block(ChannelAttention(block, size.channel_heads), block)
                if index % 2
                else Block(SpatialAttention(block, size.spatial_heads, shifted=is_shifted(number, index)), block)
                for index in range(size.blocks)
            )
        )
        self.conv = closing_convs(block.width, bottleneck)

    def forward(self, x: Tensor) -> Tensor:
        return x + channels_last(self.conv(channels_first(self.blocks(x))))


def is_shifted(group: int, block: int) -> bool:
    """Return whether the windows of a spatial attention are shifted: every second one, across the groups."""
    return block % 4 == (0 if group % 2 else 2)


def closing_convs(width: int, bottleneck: bool) -> nn.Module:
    """Return the convolutions that end a group and the body."""
    if not bottleneck:
        return nn.Conv2d(width, width, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(width, width // 4, 3, padding=1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width // 4, width // 4, 1),
        nn.LeakyReLU(0.2, inplace=True),
        nn.Conv2d(width // 4, width, 3, padding=1),
    )


class Block(nn.Module):
    """An attention and a feed-forward network, each with a norm and a residual connection, on N×H×W×C."""

    def __init__(self, attention: nn.Module, size: BlockSize) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(size.width)
        self.attention = attention
        self.feed_forward_norm = nn.LayerNorm(size.width)
        self.feed_forward = GatedFeedForward(size.width, size.hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        y: Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return y


class GatedFeedForward(nn.Module):
    """Feed-forward network whose second half of channels, after a depthwise convolution, multiplies the first."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        half = hidden // 2
        self.expand = nn.Linear(width, hidden)
        self.norm = nn.LayerNorm(half)
        self.conv = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.reduce = nn.Linear(half, width)

    def forward(self, x: Tensor) -> Tensor:
        features, gates = functional.gelu(self.expand(x)).chunk(2, dim=-1)
        gates = channels_last(self.conv(channels_first(self.norm(gates))))
        y: Tensor = self.reduce(features * gates)
        return y


class Attention(WholeImageLayer):
    """Attention beside a depthwise convolution. Each is weighted with gates that the other computes; N×H×W×C."""

    def __init__(self, size: BlockSize) -> None:
        super().__init__()
        width = size.width
        self.qkv = nn.Linear(width, 3 * width, bias=size.qkv_bias)
        self.conv = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width), nn.GELU()
        )
        self.channel_gates = nn.Sequential(nn.AdaptiveAvgPool2d(1), *gate_layers(width, width // 8, width))
        self.pixel_gates = nn.Sequential(*gate_layers(width, width // 16, 1))
        self.project = nn.Linear(width, width)


def gate_layers(inputs: int, hidden: int, outputs: int) -> tuple[nn.Module, ...]:
    """Return the layers that compute gates from features at one place."""
    return (
        nn.Conv2d(inputs, hidden, 1),
        nn.BatchNorm2d(hidden),
        nn.GELU(),
        nn.Conv2d(hidden, outputs, 1),
        nn.Sigmoid(),
    )


class SpatialAttention(Attention):
    """Attention between the pixels of a window. Half of the channels has wide windows, the other half high ones.

    The queries, keys and values are padded with zeros at the bottom and on the right, as the windows need it.

    heads: attention heads of each half.
    shifted: shift the windows by half their size, cyclically. Pixels that come together from opposite sides of the
        image do not attend to each other.
    """

    def __init__(self, size: BlockSize, heads: int, *, shifted: bool) -> None:
        super().__init__(size)
        self.heads = heads
        self.shifted = shifted
        self.multiple = max(size.window)
        self.windows = size.window, Window(size.window.width, size.window.height)
        self.position_biases = nn.ModuleList(PositionBias(size.width, heads, window) for window in self.windows)

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        qkv = self.qkv(x)
        near = self.conv(channels_first(qkv[..., 2 * channels :]))
        # Written as a count times the multiple, so that an export with free sizes knows that it can be divided.
        rows, columns = ((side + self.multiple - 1) // self.multiple * self.multiple for side in (height, width))
        qkv = functional.pad(qkv, (0, 0, 0, columns - width, 0, rows - height))
        halves = qkv.reshape(n, rows, columns, 3, 2, channels // 2).unbind(4)
        parts = zip(halves, self.windows, self.position_biases, strict=True)
        attended = [self.attend(half, window, bias())[:, :height, :width] for half, window, bias in parts]
        far = channels_first(torch.cat(attended, dim=-1))
        y = far * self.channel_gates(near) + near * self.pixel_gates(far)
        z: Tensor = self.project(channels_last(y))
        return z

    def attend(self, qkv: Tensor, window: Window, bias: Tensor) -> Tensor:
        """Attend within windows, N×H×W×3×C → N×H×W×C; H and W are multiples of the window."""
        n, rows, columns, _, channels = qkv.shape
        down, across = rows // window.height, columns // window.width
        shift = window.height // 2, window.width // 2
        if self.shifted:
            qkv = qkv.roll((-shift[0], -shift[1]), dims=(1, 2))
        qkv = qkv.reshape(n, down, window.height, across, window.width, 3, self.heads, channels // self.heads)
        qkv = qkv.permute(5, 0, 1, 3, 6, 2, 4, 7).flatten(5, 6).flatten(2, 3)
        q, k, v = qkv.unbind()  # N×windows×heads×pixels×C
        scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1) + bias
        if self.shifted:
            scores = scores + shift_mask(rows, columns, window, scores.device)
        y = scores.softmax(dim=-1) @ v
        y = y.view(n, down, across, self.heads, window.height, window.width, channels // self.heads)
        merged: Tensor = y.permute(0, 1, 4, 2, 5, 3, 6).reshape(n, rows, columns, channels)
        return merged.roll(shift, dims=(1, 2)) if self.shifted else merged


class PositionBias(nn.Module):
    """Compute the bias of attention scores, heads×pixels×pixels of a window, from the offset between two pixels."""

    def __init__(self, width: int, heads: int, window: Window) -> None:
        super().__init__()
        hidden = width // 32
        self.window = window
        self.first = nn.Linear(2, hidden)
        self.layers = nn.Sequential(
            *(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, hidden)),
            *(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, hidden)),
            *(nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, heads)),
        )

    def forward(self) -> Tensor:
        height, width = self.window
        weight = self.first.weight
        offsets = torch.cartesian_prod(torch.arange(1 - height, height), torch.arange(1 - width, width))
        biases: Tensor = self.layers(self.first(offsets.to(weight)))
        return biases[window_positions(height, width, weight.device)].permute(2, 0, 1)


def shift_mask(rows: int, columns: int, window: Window, device: torch.device) -> Tensor:
    """Return MASKED for pixels from different sides of the image, else 0: windows×1×pixels×pixels."""

    def parts(length: int, side: int) -> Tensor:
        """Number the pixels of a side: before the last window, in its first half, in its second half."""
        place = torch.arange(length, device=device)
        return (place >= length - side).int() + (place >= length - side // 2).int()

    part = 3 * parts(rows, window.height)[:, None] + parts(columns, window.width)
    part = part.view(rows // window.height, window.height, columns // window.width, window.width)
    part = part.permute(0, 2, 1, 3).flatten(2, 3).flatten(0, 1)
    return torch.where(part[:, None, :, None] == part[:, None, None, :], 0.0, MASKED)


class ChannelAttention(Attention):
    """Attention between the channels of each head, over all pixels of the image (XCiT, El-Nouby et al. 2021)."""

    def __init__(self, size: BlockSize, heads: int) -> None:
        super().__init__(size)
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        n, height, width, channels = x.shape
        qkv = self.qkv(x)
        by_head = qkv.reshape(n, height * width, 3, self.heads, channels // self.heads)
        q, k, v = by_head.permute(2, 0, 3, 4, 1).unbind()  # N×heads×C×pixels
        scores = functional.normalize(q, dim=-1) @ functional.normalize(k, dim=-1).transpose(-2, -1)
        near = self.conv(channels_first(qkv[..., 2 * channels :]))
        far = ((scores * self.temperature).softmax(dim=-1) @ v).view(n, channels, height, width)
        y = far * self.pixel_gates(near) + near * self.channel_gates(far)
        z: Tensor = self.project(channels_last(y))
        return z


def channels_last(x: Tensor) -> Tensor:
    """N×C×H×W → N×H×W×C."""
    return x.permute(0, 2, 3, 1)


def channels_first(x: Tensor) -> Tensor:
    """N×H×W×C → N×C×H×W."""
    return x.permute(0, 3, 1, 2)
