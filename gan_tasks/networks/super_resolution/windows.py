"""Attention in windows: padding, windows, relative positions and shifted windows.

SwinIR and HAT use all of it; DAT and OmniSR share the relative positions.

Liu et al. 2021, https://arxiv.org/abs/2103.14030

Features stay cut into windows, W×window²×C with W = N·windows, from block to block: only convolutions need them as
N×H×W×C. What depends on the size of the image is computed from it in the forward pass, so that an exported graph
takes images of any size.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

MASKED = -100.0
"""Added to the scores of pixels that do not attend to one another, as in the published code."""

MAX_KEYS = 100
"""An exported graph computes all heads of windows of up to this many pixels at once. Of larger windows the scores of
all heads would need most of the memory."""


def pad_by_reflection(x: Tensor, multiple: int) -> Tensor:
    """Pad N×C×H×W below and on the right to multiples of `multiple`, reflected as often as the size needs it."""
    for axis in (2, 3):
        size = x.shape[axis]
        padded = (size + multiple - 1) // multiple * multiple
        last = size - 1
        position = remainder(torch.arange(padded, device=x.device), 2 * last)
        x = x.index_select(axis, torch.minimum(position, 2 * last - position))
    return x


def remainder(x: Tensor, divisor: int) -> Tensor:
    """Return x % divisor, and 0 for a divisor of 0. In an exported graph the divisor depends on the size."""
    return x % torch.full((1,), divisor, device=x.device).clamp(min=1)


def partition(x: Tensor, window: int) -> Tensor:
    """Cut N×H×W×C into windows, (N·windows)×window²×C."""
    n, height, width, channels = x.shape
    rows, columns = height // window, width // window
    x = swapped(x.reshape(n, rows, window, columns, window, channels))
    return x.view(n * rows * columns, window**2, channels)


def merge(x: Tensor, window: int, size: tuple[int, int, int]) -> Tensor:
    """Put windows together again, the inverse of `partition`. size: N, H and W."""
    n, height, width = size
    x = swapped(x.reshape(n, height // window, width // window, window, window, x.shape[-1]))
    return x.view(n, height, width, x.shape[-1])


def swapped(x: Tensor) -> Tensor:
    """Return a copy with the axes 2 and 3 swapped. A view would be exported for one window or for several alone."""
    return x.transpose(2, 3).clone(memory_format=torch.contiguous_format)


def overlapping_windows(x: Tensor, window: int, larger: int) -> Tensor:
    """Cut N×H×W×C into windows of `larger` pixels around those of `partition`, (N·windows)×larger²×C.

    Outside the image they contain zeros. larger − window must be even.
    """
    margin = (larger - window) // 2
    counts = x.shape[1] // window, x.shape[2] // window
    x = functional.pad(x, (0, 0, margin, margin, margin, margin))
    inside = torch.arange(larger, device=x.device)
    for axis, count in zip((1, 2), counts, strict=True):
        starts = window * torch.arange(count, device=x.device)
        x = x.index_select(axis, (starts[:, None] + inside).flatten())
    return partition(x, larger)


def window_positions(height: int, width: int, device: torch.device) -> Tensor:
    """Return the rows of the table of biases for each pixel and each other one of its window, pixels×pixels.

    height, width: of the window, in pixels. The table has a row for each of (2·height − 1)·(2·width − 1) offsets.
    """

    def offsets(side: int) -> Tensor:
        places = torch.arange(side, device=device)
        return places[:, None] - places + side - 1

    return pairs(offsets(height), offsets(width), 2 * width - 1)


def overlapping_positions(window: int, larger: int, device: torch.device) -> Tensor:
    """Return the rows of the table for each pixel and each one of its overlapping window, window²×larger².

    The published indices start below zero, where Python counts from the end of the table.
    """
    side = window + larger - 1
    offsets = torch.arange(larger, device=device) - torch.arange(window, device=device)[:, None]
    offsets = offsets + window - larger + 1
    return pairs(offsets, offsets, side)


def pairs(vertical: Tensor, horizontal: Tensor, side: int) -> Tensor:
    """Combine vertical offsets P×K and horizontal ones Q×L to indices P·Q×K·L of a table.

    side: number of horizontal offsets.
    """
    index = side * vertical[:, None, :, None] + horizontal[None, :, None, :]
    return index.flatten(2).flatten(0, 1)


class Layout(NamedTuple):
    """Where the windows of features lie in the image, and how those of shifted windows differ.

    size: N, H and W of the features.
    shifted: for each pixel of the shifted windows, its index among those of the windows, N·H·W.
    unshifted: for each pixel of the windows, its index among those of the shifted windows, N·H·W.
    mask: what is added to the scores in shifted windows, W×window²×window². The shift is cyclic: the last windows
        contain pixels of opposite borders, which do not attend to one another.
    """

    window: int
    size: tuple[int, int, int]
    shifted: Tensor
    unshifted: Tensor
    mask: Tensor

    @classmethod
    def of(cls, x: Tensor, window: int) -> "Layout":
        """Return the layout of features N×H×W×C, with windows shifted by half a window."""
        n, height, width = size = x.shape[0], x.shape[1], x.shape[2]
        shift = window // 2
        rows, columns = height // window, width // window
        image = (height * width) * torch.arange(n, device=x.device).view(n, 1, 1, 1, 1)
        row = torch.arange(height, device=x.device).view(rows, 1, window, 1)
        column = torch.arange(width, device=x.device).view(columns, 1, window)

        def pixels(shift: int) -> Tensor:
            """Return for each pixel of the windows the index of the one that lies `shift` pixels after it."""
            y, x = remainder(row + shift, height), remainder(column + shift, width)
            of_row = y // window * (window * width) + y % window * window
            return (image + of_row + x // window * window**2 + x % window).flatten()

        def part(position: Tensor, length: int) -> Tensor:
            return (position >= length - window).long() + (position >= length - shift).long()

        parts = (3 * part(row, height) + part(column, width)).flatten(2).flatten(0, 1)
        mask = (parts[:, :, None] != parts[:, None, :]).to(x.dtype) * MASKED
        return cls(window, size, pixels(shift), pixels(-shift), mask.repeat(n, 1, 1))

    def merge(self, x: Tensor) -> Tensor:
        """Put windows W×window²×C together to N×H×W×C."""
        return merge(x, self.window, self.size)

    def partition(self, x: Tensor) -> Tensor:
        """Cut N×H×W×C into windows W×window²×C."""
        return partition(x, self.window)


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rearrange the pixels of windows, W×window²×C → the same shape."""
    return x.flatten(0, 1).index_select(0, index).view_as(x)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q·kᵀ/√d + bias + mask)·v, W×heads×Q×d.

    Args:
        q: W×heads×Q×d.
        k, v: W×heads×K×d.
        bias: heads×Q×K.
        mask: W×Q×K.
    """
    if torch.compiler.is_exporting() and k.shape[2] > MAX_KEYS:
        return torch.stack([attend_of_head(q, k, v, bias, mask, head) for head in range(len(bias))], 1)
    added = bias[None] if mask is None else bias + mask[:, None]
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=added)


def attend_of_head(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None, head: int) -> Tensor:
    """Return the attention of one head, W×Q×d, as `attend` does."""
    scores = q[:, head] @ k[:, head].transpose(1, 2) * q.shape[-1] ** -0.5 + bias[head]
    scores = scores if mask is None else scores + mask
    return torch.softmax(scores, -1) @ v[:, head]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split B×L×(heads·d) into B×heads×L×d."""
    return x.view(*x.shape[:2], heads, x.shape[2] // heads).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Join B×heads×L×d to B×L×(heads·d)."""
    return x.transpose(1, 2).flatten(2)


class WindowAttention(nn.Module):
    """Attention among the pixels of each window, W×window²×C → the same shape.

    Args:
        is_shifted: whether the windows are shifted by half a window.
        qkv_bias: whether queries, keys and values have biases.
    """

    def __init__(self, width: int, *, heads: int, window: int, is_shifted: bool, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads, self.window, self.is_shifted = heads, window, is_shifted
        self.relative_position_bias_table = nn.Parameter(0.02 * torch.randn((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        if self.is_shifted:
            x = take(x, layout.shifted)
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, -1))
        positions = window_positions(self.window, self.window, x.device)
        bias = self.relative_position_bias_table[positions].permute(2, 0, 1)
        y: Tensor = self.proj(join_heads(attend(q, k, v, bias, layout.mask if self.is_shifted else None)))
        return take(y, layout.unshifted) if self.is_shifted else y


class OverlappingAttention(nn.Module):
    """Attention of the pixels of each window to those of a larger window around it, W×window²×C → the same shape.

    Chen et al. 2023, https://arxiv.org/abs/2205.04437

    larger: height and width of the larger windows, in pixels.
    """

    def __init__(self, width: int, *, heads: int, window: int, larger: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads, self.window, self.larger = heads, window, larger
        self.relative_position_bias_table = nn.Parameter(0.02 * torch.randn((window + larger - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, layout: Layout) -> Tensor:
        q, kv = self.qkv(x).split((x.shape[-1], 2 * x.shape[-1]), -1)
        k, v = overlapping_windows(layout.merge(kv), self.window, self.larger).chunk(2, -1)
        q, k, v = (split_heads(part, self.heads) for part in (q, k, v))
        positions = overlapping_positions(self.window, self.larger, x.device)
        bias = self.relative_position_bias_table[positions].permute(2, 0, 1)
        y: Tensor = self.proj(join_heads(attend(q, k, v, bias)))
        return y
