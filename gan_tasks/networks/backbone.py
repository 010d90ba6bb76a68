"""The one generator of all tasks, and its fillings.

    image → stem → downs → body → ups → head → image

A filling chooses the parts: which convolution, which norm, what the body is made of, and whether each
up joins the features that the matching down began from (U-Net). The frame itself knows no task.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.blocks import (
    clipped,
    enlarged,
    init_weights,
    pad_to_multiple,
)
from gan_tasks.networks.sizes import SizedModule

STRIPS, MIN_STRIP_ROWS = 8, 16
"""See `Generator.strip_wise`."""


class Generator(SizedModule):
    """stem → downs → body → ups → head, N×C_in×H×W in [-1, 1] → N×C_out×(s·H)×(s·W).

    Args:
        stem, body, head: one module each.
        downs, ups: modules in the order they are run.
        skips: concatenate the features in front of `downs[i]` to the output of `ups[-1 - i]` (U-Net).
        size_multiple: `run` needs H and W divisible by this; `forward` pads and crops, so takes any size.
        minimum_size: the smallest H and W that `run` takes, in pixels.
        scale: how many output pixels there are to an input pixel along a side.
        shortcut: enlarges the input as `run` takes it, to be added to what the head makes (VDSR, Kim et al. 2016).
        clips: hold the sum within [-1, 1].
        reduce: what is added to the shortcut is worked out on means over blocks of this many pixels a side
        reach: how far to each side of a place the image decides what is made there, in pixels of input; where
            that is farther than can be seen, as far as it can.
        tail_receptive_field: the same of ups and head, in pixels of the body's features; None where it is not known.

    Attributes:
        strip_wise: where `tail_receptive_field` is known, run ups and head on one strip of rows after another. Their
            large features then never exist for the whole image. The result is the same. Not for export.
    """

    strip_wise: bool = False

    def __init__(
        self,
        *,
        stem: nn.Module,
        downs: Sequence[nn.Module],
        body: nn.Module,
        ups: Sequence[nn.Module],
        head: nn.Module,
        skips: bool = False,
        size_multiple: int = 1,
        minimum_size: int = 1,
        scale: int = 1,
        shortcut: nn.Module | None = None,
        clips: bool = False,
        residual_downscale: int = 1,
        receptive_field: int = 24,
        tail_receptive_field: int | None = None,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.downs = nn.ModuleList(downs)
        self.body = body
        self.ups = nn.ModuleList(ups)
        self.head = head
        self.skips = skips
        self.size_multiple = size_multiple
        self.minimum_size = minimum_size
        self.scale = scale
        self.shortcut = shortcut
        self.clips = clips
        self.residual_downscale = residual_downscale
        self.receptive_field = receptive_field
        self.tail_receptive_field = tail_receptive_field
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Any size: pads to what `run` takes and crops the result."""
        height, width = x.shape[-2:]
        y = self.run(pad_to_multiple(x, self.size_multiple, self.minimum_size))
        return y[..., : height * self.scale, : width * self.scale]

    def run(self, x: Tensor) -> Tensor:
        """The network alone, for sizes that are multiples of `size_multiple` (what is exported)."""
        if self.residual_downscale == 1:
            y = self._made(x)
        else:
            y = enlarged(self._made(functional.avg_pool2d(x, self.residual_downscale)), self.residual_downscale)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        return clipped(y) if self.clips else y

    def _made(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        kept = []
        for down in self.downs:
            kept.append(x)
            x = down(x)
        x = self.body(x)
        if self.strip_wise and self.tail_receptive_field is not None:
            return self._tail_strip_wise(x, self.tail_receptive_field)
        for up in self.ups:
            x = up(x)
            if self.skips:
                x = torch.cat([kept.pop(), x], dim=1)
        y: Tensor = self.head(x)
        return y

    def _tail_strip_wise(self, x: Tensor, receptive_field: int) -> Tensor:
        height = x.shape[-2]
        rows = max(MIN_STRIP_ROWS, -(-height // STRIPS))
        made = []
        for start in range(0, height, rows):
            first, last = max(0, start - receptive_field), min(height, start + rows + receptive_field)
            strip: Tensor = x[..., first:last, :]
            for part in (*self.ups, self.head):
                strip = part(strip)
            step = strip.shape[-2] // (last - first)
            made.append(strip[..., (start - first) * step : (min(height, start + rows) - first) * step, :].clone())
        return torch.cat(made, dim=-2)
