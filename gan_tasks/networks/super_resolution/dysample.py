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
        if outputs is not None:
            self.last = nn.Conv2d(inputs, outputs, 1)
        self.offset = nn.Conv2d(inputs, count, 1)
        self.scope = nn.Conv2d(inputs, count, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        count, channels, height, width = x.shape
        scale, groups = self.scale, self.groups
        offsets = self.offset(x) * torch.sigmoid(self.scope(x)) * 0.5 + self.positions
        # Positions need more digits than bf16 has.
        precise = torch.promote_types(x.dtype, torch.float32)
        across, down = functional.pixel_shuffle(offsets.to(precise), scale).chunk(2, dim=1)  # N×groups×(s·H)×(s·W)
        columns, rows = (centres(length, scale, x.device, precise) for length in (width, height))
        grid = torch.stack(
            [2 * (columns + across) / width - 1, 2 * (rows[:, None] + down) / height - 1], dim=-1
        ).flatten(0, 1)
        features = x.to(precise).reshape(count * groups, channels // groups, height, width)
        y = functional.grid_sample(features, grid, mode="bilinear", padding_mode="border", align_corners=False)
        y = y.reshape(count, channels, height * scale, width * scale).to(x.dtype)
        return self.last(y) if hasattr(self, "last") else y


def centres(length: int, scale: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return, for each of scale·length positions along a side, the centre of the pixel of the features it lies in."""
    return (torch.arange(length * scale, device=device) // scale).to(dtype) + 0.5


def plain_positions(scale: int, groups: int) -> Tensor:
    """Return the offsets of plain upsampling, 1×(2·groups·s²)×1×1: across for each group, then down for each group."""
    steps = (torch.arange(scale, dtype=torch.float32) + 0.5) / scale - 0.5
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack([across, down])[:, None].expand(2, groups, scale, scale).reshape(1, -1, 1, 1).contiguous()
