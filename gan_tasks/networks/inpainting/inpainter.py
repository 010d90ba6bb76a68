"""The network of inpainting in one stage or two: from an image and its mask to a complete image.

All inpainting networks are called alike, see `Inpainter`. Masks are 1 in the masked region.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import GatedConv, clipped, enlarged, pad_to_multiple
from gan_tasks.networks.inpainting.push_pull import SmoothFill
from gan_tasks.networks.residual import as_residual
from gan_tasks.networks.sizes import SizedModule

LARGEST_RECEPTIVE_FIELD = 64
"""Declared receptive-field radius, in pixels: how much of the image around the masked region the network should get.

The real receptive field of these networks is the whole image.
"""


class Inpainter(SizedModule):
    """Fill the masked region in one stage, or in two: a coarse image, and a refined one.

    Args:
        coarse: the first network. Its input is [image · (1 - mask), 1 - sketch · mask, mask], C + 2 channels.
        refine: the second network. Its input is [coarse image · mask + image · (1 - mask), mask], C + 1 channels.
        start: fills the masked region of the image before `coarse` gets it. Without it the masked region is 0.
        residual_downscale: both networks run on the image averaged over blocks of this many pixels a side, and their
            residual is upsampled.

    Attributes:
        size_multiple: H and W are padded to multiples of this, in pixels.
        minimum_size: H and W are padded to at least this, in pixels.
        receptive_field: declared receptive-field radius, in pixels.
    """

    def __init__(
        self,
        coarse: Generator,
        refine: Generator | None = None,
        start: SmoothFill | None = None,
        *,
        residual_downscale: int = 1,
    ) -> None:
        super().__init__()
        self.coarse = coarse
        self.refine = refine
        self.start = start
        self.residual_downscale = residual_downscale
        parts = [coarse] if refine is None else [coarse, refine]
        self.size_multiple = residual_downscale * math.lcm(*(part.size_multiple for part in parts))
        self.minimum_size = residual_downscale * max(part.minimum_size for part in parts)
        self.receptive_field = residual_downscale * max(part.receptive_field for part in parts)

    def forward(self, image: Tensor, mask: Tensor, sketch: Tensor | None = None) -> Tensor:
        """Return the last image of `stages`, N×C×H×W in [-1, 1]. Use only its masked region."""
        return self.stages(image, mask, sketch)[-1]

    def stages(self, image: Tensor, mask: Tensor, sketch: Tensor | None = None) -> tuple[Tensor, ...]:
        """Return the image of every stage, N×C×H×W in [-1, 1]: the coarse one and, if there are two, the refined one.

        Args:
            image: N×C×H×W in [-1, 1], of any size. Its values in the masked region have no effect.
            mask: N×1×H×W, 1 in the masked region and 0 elsewhere.
            sketch: N×1×H×W, 1 on lines that the result should follow and 0 elsewhere. Lines outside the masked region
                have no effect. None: no lines.
        """
        height, width = image.shape[-2:]
        sketch = torch.zeros_like(mask) if sketch is None else sketch
        image, mask, sketch = (
            pad_to_multiple(x, self.size_multiple, self.minimum_size) for x in (image, mask, sketch)
        )
        masked = image * (1 - mask)
        if self.start is not None:
            masked = masked + self.start(image, mask) * mask
        run = self._run if self.residual_downscale == 1 else self._run_downscaled
        return tuple(output[..., :height, :width] for output in run(masked, mask, sketch))

    def _run(self, masked: Tensor, mask: Tensor, sketch: Tensor) -> list[Tensor]:
        """Run the networks at the size of their input."""
        images = [self.coarse.run(torch.cat([masked, 1 - sketch * mask, mask], dim=1))]
        if self.refine is not None:
            filled = images[0] * mask + masked * (1 - mask)
            images.append(self.refine.run(torch.cat([filled, mask], dim=1)))
        return images

    def _run_downscaled(self, masked: Tensor, mask: Tensor, sketch: Tensor) -> list[Tensor]:
        """Run the networks on the downscaled image, and add their upsampled residual to the full-size image."""
        small, ratio = (functional.avg_pool2d(x, self.residual_downscale) for x in (masked, mask))
        small_mask = (ratio > 0.5).to(mask.dtype)  # narrower masked regions keep the smooth fill
        lines = functional.max_pool2d(sketch * mask, self.residual_downscale)
        images = []
        for output in self._run(small, small_mask, lines):
            # The residual is 0 outside the mask, so that after the upsampling it fades in from the mask's boundary.
            residual = enlarged((output - small) * small_mask, self.residual_downscale)
            images.append(clipped(masked + residual * mask))
        return images


def as_residual_of_smooth_fill(inpainter: Inpainter, channels: int, *, residual_downscale: int = 1) -> Inpainter:
    """Return an inpainter whose networks add a residual to a smooth fill of the masked region.

    Before training the residual is zero, so the result is the smooth fill. The networks of `inpainter` are changed in
    place, see `as_residual`.

    channels: channels of the image.
    residual_downscale: compute the residual on the image averaged over blocks of this many pixels a side.
    """
    for part in (inpainter.coarse, inpainter.refine):
        if part is not None:
            as_residual(part, channels)
    return Inpainter(inpainter.coarse, inpainter.refine, SmoothFill(), residual_downscale=residual_downscale)


GATED_GAIN = 2.3
"""Factor on 1/√inputs, the standard deviation of the initial weights of gated convolutions.

With it the mean square of normally distributed features stays the same: that of ELU(a) · sigmoid(b) is 0.19.
"""
PLAIN_GAIN = 1.25
"""The same for plain convolutions: the mean square of ELU(a) is 0.65."""


def init_inpainter(module: nn.Module) -> None:
    """Initialise the convolutions so that the scale of the features stays the same from layer to layer.

    These networks have no normalisation layers that would keep the scale.
    """
    gated = {part.conv for part in module.modules() if isinstance(part, GatedConv)}
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            gain = GATED_GAIN if part in gated else PLAIN_GAIN
            nn.init.normal_(part.weight, 0.0, gain / math.sqrt(part.weight[0].numel()))
