"""DySample: upsampling at learned positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class DySample(nn.Module):
    """Upsample by sampling the features bilinearly at learned positions, N×inputs×H×W → N×outputs×(s·H)×(s·W).

    Liu et al. 2023, https://arxiv.org/abs/2308.15085. Each group of channels has offsets of its own, in pixels of the
    features, from the position that plain upsampling would take.

    Args:
        inputs: channels of the features, a multiple of `groups`.
        outputs: channels of the result, by a 1×1 convolution; None: those of the features, without the convolution.
        scale: s, pixels of the result per pixel of the features along a side.
        groups: groups of channels.
    """

    positions: Tensor

    def __init__(self, inputs: int, outputs: int | None, *, scale: int, groups: int) -> None:
        super().__init__()
        self.scale, self.groups = scale, groups
        self.out_channels = outputs or inputs
        count = 2 * groups * scale**2
        self.register_buffer("positions", plain_positions(scale, groups))
        self.last = None if outputs is None else nn.Conv2d(inputs, outputs, 1)
        self.offset = nn.Conv2d(inputs, count, 1)
        self.scope = nn.Conv2d(inputs, count, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        offsets = self.offset(x) * torch.sigmoid(self.scope(x)) * 0.5 + self.positions
        across, down = functional.pixel_shuffle(offsets, self.scale).chunk(2, dim=1)
        if self.last is None:
            return sampled(x, across, down, self.scale)
        # Sampling is linear, so the convolution may come first, where there are fewer pixels: a sum for each group.
        weight, bias = self.last.weight, self.last.bias
        assert bias is not None
        of_groups = weight.unflatten(1, (self.groups, -1)).transpose(0, 1).flatten(0, 1)
        y = sampled(functional.conv2d(x, of_groups, groups=self.groups), across, down, self.scale)
        result: Tensor = y.unflatten(1, (self.groups, self.out_channels)).sum(1) + bias.view(-1, 1, 1)
        return result


def sampled(x: Tensor, across: Tensor, down: Tensor, scale: int) -> Tensor:
    """Sample N×C×H×W bilinearly, for each output pixel at an offset from its own pixel → N×C×(s·H)×(s·W).

    across, down: offsets in pixels of x, N×groups×(s·H)×(s·W). Positions outside x take the value at its border.

    `grid_sample` takes positions in the whole image, whose rounding grows with it. Here whole pixels are integers.
    """
    count, channels, height, width = x.shape
    groups = across.shape[1]
    # Each row of this matrix is a pixel of one group of one image.
    pixels = x.reshape(count * groups, channels // groups, height * width).transpose(1, 2).flatten(0, 1)
    first = torch.arange(count * groups, device=x.device).view(count, groups, 1, 1) * (height * width)
    tops, rows = whole_and_rest(down)
    lefts, columns = whole_and_rest(across)
    tops = tops + (torch.arange(height * scale, device=x.device) // scale)[:, None]
    lefts = lefts + torch.arange(width * scale, device=x.device) // scale

    def corner(lower: int, right: int) -> Tensor:
        weight = (rows if lower else 1 - rows) * (columns if right else 1 - columns)
        index = first + (tops + lower).clamp(0, height - 1) * width + (lefts + right).clamp(0, width - 1)
        return pixels.index_select(0, index.flatten()) * weight.flatten()[:, None]

    y = corner(0, 0) + corner(0, 1) + corner(1, 0) + corner(1, 1)
    y = y.view(count * groups, height * width * scale**2, channels // groups).transpose(1, 2)
    return y.reshape(count, channels, height * scale, width * scale)


def whole_and_rest(offset: Tensor) -> tuple[Tensor, Tensor]:
    """Return the whole pixels of an offset as integers, and the rest in [0, 1)."""
    whole = offset.floor()
    return whole.long(), offset - whole


def plain_positions(scale: int, groups: int) -> Tensor:
    """Return the offsets of plain upsampling, 1×(2·groups·s²)×1×1: those across of all groups, then those down."""
    steps = (torch.arange(scale, dtype=torch.float32) + 0.5) / scale - 0.5
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([across, down])[:, None].expand(2, groups, scale, scale).reshape(1, -1, 1, 1).contiguous()
