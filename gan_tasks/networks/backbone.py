"""The backbone that the generators of all tasks share.

    image → stem → downs → body → ups → head → image

An architecture is a configuration of this backbone. It chooses the modules: the convolutions, the normalisation, the
body, and whether each upsampling step also receives the features of the matching downsampling step (U-Net). The
backbone itself contains no code for a single task.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from gan_tasks.networks.blocks import (
    clipped,
    enlarged,
    init_weights,
    pad_to_multiple,
)
from gan_tasks.networks.sizes import SizedModule

STRIPS, MIN_STRIP_ROWS = 8, 16
"""Number of strips, and the least height of a strip in rows of body features. See `Generator.strip_wise`."""


class Generator(SizedModule):
    """A generator: stem → downs → body → ups → head, N×C_in×H×W in [-1, 1] → N×C_out×(scale·H)×(scale·W).

    Args:
        stem: the first module, N×C_in×H×W → features.
        downs: downsampling modules, in the order in which they run.
        body: the module between downsampling and upsampling.
        ups: upsampling modules, in the order in which they run.
        head: the last module, features → N×C_out×H'×W'.
        skips: concatenate the input of `downs[i]` with the output of `ups[-1 - i]` along the channels (U-Net,
            Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597).
        size_multiple, minimum_size, receptive_field, tile_multiple: see `SizedModule`. They are limits of `run`;
            `forward` pads and crops. Architectures whose receptive field is larger than what has a visible effect
            give the radius of the visible effect.
        scale: output pixels per input pixel along a side.
        shortcut: a module that maps the input to the size of the output. Its result is added to the output of the
            head (VDSR, Kim et al. 2016, https://arxiv.org/abs/1511.04587). None: nothing is added.
        upsampler: a module that upsamples this sum, such as DySample. None: it has the size of the output already.
        clips: clip the sum to [-1, 1].
        residual_downscale: the layers run on the input averaged over blocks of this many pixels a side, and their
            output is upsampled by the same factor before `shortcut` is added.
        tail_receptive_field: receptive-field radius of ups and head, in pixels of the body's features; None if it is
            not known.

    Attributes:
        strip_wise: run ups and head strip-wise, on a few rows of the body's features at a time, if
            `tail_receptive_field` is known. This saves memory, because the large features never exist for the whole
            image. The result is the same. Do not use it for export.
        recompute: keep only the input of each part for the backward pass, which computes its features again (Chen et
            al. 2016, https://arxiv.org/abs/1604.06174). The result is the same, with less memory and in more time. It
            has no effect with skips: a U-Net has to keep the features, and its parts change their input in place.
    """

    strip_wise: bool = False
    recompute: bool = False

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
        upsampler: nn.Module | None = None,
        clips: bool = False,
        residual_downscale: int = 1,
        receptive_field: int = 24,
        tail_receptive_field: int | None = None,
        tile_multiple: int = 1,
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
        self.upsampler = upsampler
        self.clips = clips
        self.residual_downscale = residual_downscale
        self.receptive_field = receptive_field
        self.tail_receptive_field = tail_receptive_field
        self.tile_multiple = tile_multiple
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map N×C_in×H×W in [-1, 1] of any size to N×C_out×(scale·H)×(scale·W): pad, run, crop."""
        height, width = x.shape[-2:]
        y = self.run(pad_to_multiple(x, self.size_multiple, self.minimum_size))
        return y[..., : height * self.scale, : width * self.scale]

    def run(self, x: Tensor) -> Tensor:
        """Run the layers without padding, as the export does. H and W must be multiples of `size_multiple`."""
        if self.residual_downscale == 1:
            y = self._run_layers(x)
        else:
            y = enlarged(self._run_layers(functional.avg_pool2d(x, self.residual_downscale)), self.residual_downscale)
        if self.shortcut is not None:
            y = y + self.shortcut(x)
        if self.upsampler is not None:
            y = self.upsampler(y)
        return clipped(y) if self.clips else y

    def encoder_layers(self) -> list[nn.Module]:
        """Return the modules of the stem, then those of each downsampling step, then the blocks of the body."""
        parts = (self.stem, *self.downs, self.body)
        return [layer for part in parts for layer in (part if isinstance(part, nn.Sequential) else (part,))]

    def encode(self, x: Tensor, layers: Collection[int]) -> Iterator[Tensor]:
        """Yield the outputs of some of the `encoder_layers` for images N×C_in×H×W of any size, each N×C×h×w."""
        x = pad_to_multiple(x, self.size_multiple, self.minimum_size)
        if self.residual_downscale > 1:
            x = functional.avg_pool2d(x, self.residual_downscale)
        between: list[nn.Module] = []
        for number, layer in enumerate(self.encoder_layers()[: max(layers) + 1]):
            between.append(layer)
            if number in layers:
                x = self.run_part(nn.Sequential(*between), x)
                between = [Copy()]  # because the next layer may change its input in place
                yield x

    def _run_layers(self, x: Tensor) -> Tensor:
        x = self.run_part(self.stem, x)
        skipped = []
        for down in self.downs:
            skipped.append(x)
            x = self.run_part(down, x)
        for block in self.body if isinstance(self.body, nn.Sequential) else (self.body,):
            x = self.run_part(block, x)
        if self.strip_wise and self.tail_receptive_field is not None:
            return self._run_tail_strip_wise(x, self.tail_receptive_field)
        for up in self.ups:
            x = self.run_part(up, x)
            if self.skips:
                x = torch.cat([skipped.pop(), x], dim=1)
        return self.run_part(self.head, x)

    def run_part(self, part: nn.Module, x: Tensor) -> Tensor:
        """Run one of the parts, which computes its features again in the backward pass if `recompute` is set."""
        if self.recompute and not self.skips and torch.is_grad_enabled():
            contexts = partial(contexts_of_passes, part)
            y: Tensor = checkpoint(part, x, use_reentrant=False, context_fn=contexts)
        else:
            y = part(x)
        return y

    def _run_tail_strip_wise(self, x: Tensor, receptive_field: int) -> Tensor:
        """Run ups and head on overlapping strips of rows, and join the rows that no strip border affects."""
        height = x.shape[-2]
        rows = max(MIN_STRIP_ROWS, -(-height // STRIPS))
        outputs = []
        for start in range(0, height, rows):
            first, last = max(0, start - receptive_field), min(height, start + rows + receptive_field)
            strip: Tensor = x[..., first:last, :]
            for part in (*self.ups, self.head):
                strip = part(strip)
            step = strip.shape[-2] // (last - first)
            outputs.append(strip[..., (start - first) * step : (min(height, start + rows) - first) * step, :].clone())
        return torch.cat(outputs, dim=-2)


class Copy(nn.Module):
    """Return a copy of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone()


def contexts_of_passes(part: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return the contexts of the first pass and of the second one, which leaves the running statistics alone."""
    return nullcontext(), statistics_kept(part)


@contextmanager
def statistics_kept(part: nn.Module) -> Iterator[None]:
    """Let batch norms leave their running statistics as they are."""
    norms = [module for module in part.modules() if isinstance(module, nn.BatchNorm2d) and module.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
