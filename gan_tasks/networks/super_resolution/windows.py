"""Attention in windows, for SwinIR and HAT: padding, windows, relative positions and masks of shifted windows.

Liu et al. 2021, https://arxiv.org/abs/2103.14030

Features are N×H×W×C here, where H and W are multiples of the window. What depends on H and W is computed from them in
the forward pass, so that an exported graph takes images of any size.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

MASKED = -100.0
"""Added to the scores of pixels that do not attend to one another, as in the published code."""


def pad_by_reflection(x: Tensor, multiple: int) -> Tensor:
    """Pad N×C×H×W below and on the right to multiples of `multiple`, reflected as often as the size needs it."""
    for axis in (2, 3):
        size = x.shape[axis]
        padded = (size + multiple - 1) // multiple * multiple
        period = torch.full((1,), 2 * size - 2, device=x.device).clamp(min=1)
        position = torch.arange(padded, device=x.device) % period
        x = x.index_select(axis, torch.minimum(position, period - position))
    return x


def partition(x: Tensor, window: int) -> Tensor:
    """Cut N×H×W×C into windows, (N·windows)×window²×C."""
    n, height, width, channels = x.shape
    rows, columns = height // window, width // window
    x = x.reshape(n, rows, window, columns, window, channels).transpose(2, 3)
    return x.reshape(n * rows * columns, window**2, channels)


def merge(x: Tensor, window: int, size: tuple[int, int, int]) -> Tensor:
    """Put windows together again, the inverse of `partition`. size: N, H and W."""
    n, height, width = size
    x = x.reshape(n, height // window, width // window, window, window, x.shape[-1]).transpose(2, 3)
    return x.reshape(n, height, width, x.shape[-1])


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


def window_positions(window: int, device: torch.device) -> Tensor:
    """Return the rows of the table of biases for each pixel and each other one of its window, window²×window²."""
    offsets = torch.arange(window, device=device)
    return pairs(offsets[:, None] - offsets + window - 1, 2 * window - 1)


def overlapping_positions(window: int, larger: int, device: torch.device) -> Tensor:
    """Return the rows of the table for each pixel and each one of its overlapping window, window²×larger².

    The published indices start below zero, where Python counts from the end of the table.
    """
    side = window + larger - 1
    offsets = torch.arange(larger, device=device) - torch.arange(window, device=device)[:, None]
    return pairs(offsets + window - larger + 1, side)


def pairs(offsets: Tensor, side: int) -> Tensor:
    """Combine the vertical and the horizontal offsets, each Q×K, to indices Q²×K² of a table of side² rows."""
    index = side * offsets[:, None, :, None] + offsets[None, :, None, :]
    return index.flatten(2).flatten(0, 1)


def shift_mask(size: tuple[int, int], window: int, shift: int, like: Tensor) -> Tensor:
    """Return what is added to the scores in shifted windows, windows×window²×window².

    The shift is cyclic: the last windows contain pixels of opposite borders, which do not attend to one another.

    size: H and W of the features.
    like: a tensor of the type and on the device of the mask.
    """

    def parts(length: int) -> Tensor:
        position = torch.arange(length, device=like.device)
        return (position >= length - window).long() + (position >= length - shift).long()

    height, width = size
    part = 3 * parts(height)[:, None] + parts(width)
    part = partition(part[None, :, :, None], window).squeeze(-1)
    return (part[:, :, None] != part[:, None, :]).to(like.dtype) * MASKED


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return softmax(q·kᵀ/√d + bias + mask)·v, B×heads×Q×d, with B = N·windows.

    Args:
        q: B×heads×Q×d.
        k, v: B×heads×K×d.
        bias: heads×Q×K.
        mask: windows×Q×K.
    """
    added = bias[None]
    if mask is not None:
        n = q.shape[0] // mask.shape[0]
        added = (bias + mask[:, None]).expand(n, -1, -1, -1, -1).flatten(0, 1)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=added)


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Split B×L×(heads·d) into B×heads×L×d."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """Join B×heads×L×d to B×L×(heads·d)."""
    return x.transpose(1, 2).flatten(2)


class WindowAttention(nn.Module):
    """Attention among the pixels of each window, N×H×W×C → the same shape.

    Args:
        shift: number of pixels by which the windows are shifted; 0 for none.
        qkv_bias: whether queries, keys and values have biases.
    """

    def __init__(self, width: int, *, heads: int, window: int, shift: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.relative_position_bias_table = nn.Parameter(0.02 * torch.randn((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """mask: from `shift_mask`; only shifted windows use it."""
        size = x.shape[0], x.shape[1], x.shape[2]
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(partition(x, self.window)).chunk(3, -1))
        bias = self.relative_position_bias_table[window_positions(self.window, x.device)].permute(2, 0, 1)
        y = self.proj(join_heads(attend(q, k, v, bias, mask if self.shift else None)))
        y = merge(y, self.window, size)
        return y.roll((self.shift, self.shift), (1, 2)) if self.shift else y


class OverlappingAttention(nn.Module):
    """Attention of the pixels of each window to those of a larger window around it, N×H×W×C → the same shape.

    Chen et al. 2023, https://arxiv.org/abs/2205.04437

    larger: height and width of the larger windows, in pixels.
    """

    def __init__(self, width: int, *, heads: int, window: int, larger: int, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads, self.window, self.larger = heads, window, larger
        self.relative_position_bias_table = nn.Parameter(0.02 * torch.randn((window + larger - 1) ** 2, heads))
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[0], x.shape[1], x.shape[2]
        q, k, v = self.qkv(x).chunk(3, -1)
        q = split_heads(partition(q, self.window), self.heads)
        k, v = (split_heads(overlapping_windows(part, self.window, self.larger), self.heads) for part in (k, v))
        positions = overlapping_positions(self.window, self.larger, x.device)
        bias = self.relative_position_bias_table[positions].permute(2, 0, 1)
        return merge(self.proj(join_heads(attend(q, k, v, bias))), self.window, size)
