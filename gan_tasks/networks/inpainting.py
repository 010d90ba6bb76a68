"""Inpainting networks, as configurations of the backbone: from an image and its mask to a complete image.

All are called alike, see `Inpainter`. Masks are 1 in the masked region.
"""

import math
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import GatedConv, Norm, clipped, enlarged, needs_bias, norm_layer, pad_to_multiple
from gan_tasks.networks.contextual_attention import ContextualAttention
from gan_tasks.networks.layers import Conv2d, ConvTranspose2d
from gan_tasks.networks.push_pull import SmoothFill
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


class MakeConv(Protocol):
    """Makes a convolution with its activation (ELU by default), N×inputs×H×W → N×outputs×⌈H/stride⌉×⌈W/stride⌉."""

    def __call__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        /,
        *,
        stride: int = 1,
        dilation: int = 1,
        activation: nn.Module | None = None,
    ) -> nn.Module: ...


def plain_conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    /,
    *,
    stride: int = 1,
    dilation: int = 1,
    activation: nn.Module | None = None,
) -> nn.Module:
    """Return a plain convolution and its activation, see `MakeConv`."""
    padding = dilation * (kernel - 1) // 2
    conv = Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation)
    return nn.Sequential(conv, activation or nn.ELU())


def deepfill_v2(channels: int = 3, *, width: int = 48, tensorflow: bool = False) -> Inpainter:
    """DeepFill v2: gated convolutions and contextual attention, in two stages.

    Yu et al. 2019, https://arxiv.org/abs/1806.03589

    Args:
        channels: channels of the image.
        width: channels after the first halving. The channels of the other layers are multiples and fractions of it.
        tensorflow: compute exactly as the original TensorFlow code, for weights converted from it: with SAME padding
            and aligned corners, and without the fusing of scores.

    Raises ValueError if the width is not a multiple of 4.
    """
    conv: MakeConv = partial(GatedConv, tensorflow=tensorflow)
    return deepfill(channels, width, conv, ContextualAttention(fuse=not tensorflow, tensorflow=tensorflow))


def deepfill_v1(channels: int = 3, *, width: int = 64) -> Inpainter:
    """DeepFill v1: plain convolutions and contextual attention, in two stages with the layers of v2.

    Yu et al. 2018, https://arxiv.org/abs/1801.07892. Two things differ from the paper: the output is limited by tanh,
    where the paper's is clipped, and the layers of the second stage do not get the mask, except the attention.

    Args:
        channels: channels of the image.
        width: channels after the first halving; the default is that of the paper.

    Raises ValueError if the width is not a multiple of 4.
    """
    return deepfill(channels, width, plain_conv, ContextualAttention())


def deepfill(channels: int, width: int, conv: MakeConv, attention: ContextualAttention) -> Inpainter:
    """Build both stages. The refinement has two branches: dilated convolutions, and contextual attention."""
    if width < 4 or width % 4:
        raise ValueError(f"the width must be a multiple of 4, got {width}")
    half, wide = width // 2, 2 * width

    def dilated() -> list[nn.Module]:
        return [conv(wide, wide, dilation=dilation) for dilation in (2, 4, 8, 16)]

    def up(inputs: int, within: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Upsample(scale_factor=2), conv(inputs, within), conv(within, outputs))

    def generator(stem: nn.Module, downs: list[nn.Module], body: nn.Module) -> Generator:
        return Generator(
            stem=stem,
            downs=downs,
            body=body,
            ups=[up(wide, width, width), up(width, half, width // 4)],
            head=nn.Sequential(Conv2d(width // 4, channels, 3, padding=1), nn.Tanh()),
            # The body has a quarter of the size, and the attention halves it once more.
            size_multiple=8,
            minimum_size=8,
            receptive_field=LARGEST_RECEPTIVE_FIELD,
        )

    coarse = generator(
        conv(channels + 2, half, 5),
        [
            nn.Sequential(conv(half, width, stride=2), conv(width, width)),
            nn.Sequential(conv(width, wide, stride=2), conv(wide, wide)),
        ],
        nn.Sequential(conv(wide, wide), *dilated(), conv(wide, wide), conv(wide, wide)),
    )
    dilated_branch = nn.Sequential(
        conv(channels, half, 5),
        *(conv(half, half, stride=2), conv(half, width)),
        *(conv(width, width, stride=2), conv(width, wide)),
        *(conv(wide, wide), *dilated()),
    )
    attention_encoder = nn.Sequential(
        conv(channels, half, 5),
        *(conv(half, half, stride=2), conv(half, width)),
        *(conv(width, wide, stride=2), conv(wide, wide)),
        conv(wide, wide, activation=nn.ReLU()),
    )
    attention_decoder = nn.Sequential(conv(wide, wide), conv(wide, wide))
    branches = Branches(dilated_branch, attention_encoder, attention, attention_decoder)
    refine = generator(nn.Identity(), [], nn.Sequential(branches, conv(2 * wide, wide), conv(wide, wide)))
    for part in (coarse, refine):
        init_inpainter(part)
    return Inpainter(coarse, refine)


class Branches(nn.Module):
    """Two branches whose features are concatenated: dilated convolutions, and contextual attention.

    The input is N×(C + 1)×H×W; its last channel is the mask. The output is N×2C'×(H/4)×(W/4).
    """

    def __init__(
        self,
        dilated_branch: nn.Module,
        attention_encoder: nn.Module,
        attention: ContextualAttention,
        attention_decoder: nn.Module,
    ) -> None:
        super().__init__()
        self.dilated_branch = dilated_branch
        self.attention_encoder = attention_encoder
        self.attention = attention
        self.attention_decoder = attention_decoder

    def forward(self, x: Tensor) -> Tensor:
        image, mask = x[:, :-1], x[:, -1:]
        attended = self.attention_decoder(self.attention(self.attention_encoder(image), mask))
        return torch.cat([self.dilated_branch(image), attended], dim=1)


def context_encoder(channels: int = 3, *, width: int = 64, bottleneck: int = 4000, norm: Norm = "batch") -> Inpainter:
    """Context Encoder for masks of any shape, in one stage. Pathak et al. 2016, https://arxiv.org/abs/1604.07379

    The encoder halves the size five times, with 64, 64, 128, 256 and 512 channels. The bottleneck has 4000 channels.
    The decoder doubles the size five times.

    Two things differ from the paper:

    - The paper's network takes 128×128 pixels, and its bottleneck is fully connected to the 4×4 smallest features.
      Here the bottleneck is a 4×4 convolution. For 128×128 pixels it computes the same, but it also works for larger
      images, where it covers blocks of 128×128 pixels at a distance of 32.
    - The paper's network gets the image alone, with the masked region filled with a mean colour. Here mask and sketch
      are further input channels.

    H and W are padded to multiples of 32 pixels, and to at least 128. In training, batch norm needs at least two
    blocks: a batch of two images, or a larger image.

    Args:
        channels: channels of the image.
        width: channels after the first halving.
        bottleneck: channels of the bottleneck.
        norm: normalisation after the convolutions.
    """
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    bias = needs_bias(norm)

    def down(inputs: int, outputs: int) -> nn.Module:
        conv = Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
        return nn.Sequential(conv, norm_layer(norm, outputs), nn.LeakyReLU(0.2, inplace=True))

    def up(inputs: int, outputs: int) -> nn.Module:
        conv = ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
        return nn.Sequential(conv, norm_layer(norm, outputs), nn.ReLU(inplace=True))

    first = Conv2d(channels + 2, width, 4, stride=2, padding=1)
    last = ConvTranspose2d(width, channels, 4, stride=2, padding=1)
    return Inpainter(
        Generator(
            stem=nn.Sequential(first, nn.LeakyReLU(0.2, inplace=True)),
            downs=[down(widths[i], widths[i + 1]) for i in range(4)],
            body=nn.Sequential(
                Conv2d(widths[-1], bottleneck, 4, bias=bias),
                norm_layer(norm, bottleneck),
                nn.LeakyReLU(0.2),  # not in place, as --recompute keeps the input of each part
                ConvTranspose2d(bottleneck, widths[-1], 4, bias=bias),
                norm_layer(norm, widths[-1]),
                nn.ReLU(),
            ),
            ups=[up(widths[i + 1], widths[i]) for i in reversed(range(4))],
            head=nn.Sequential(last, nn.Tanh()),
            size_multiple=32,
            minimum_size=128,
            receptive_field=LARGEST_RECEPTIVE_FIELD,
        )
    )


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
