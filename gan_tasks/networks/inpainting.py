"""The networks of inpainting, as fillings of the shared generator: from an image with holes to one without.

All are called alike, see `Inpainter`. Masks are 1 in holes.
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
from gan_tasks.networks.push_pull import SmoothFill
from gan_tasks.networks.residual import as_residual
from gan_tasks.networks.sizes import SizedModule

LARGEST_RECEPTIVE_FIELD = 64
"""Pixels. These networks look as far as the image goes; this much around a hole they should be shown."""


class Inpainter(SizedModule):
    """Fills holes in one step, or in two: a coarse image, and what is made of it once it stands in the holes.

    Args:
        coarse: sees [image · (1 - mask), 1 - sketch · mask, mask], C + 2 channels.
        refine: sees [coarse · mask + image · (1 - mask), mask], C + 1 channels.
        start: fills the holes of the image that coarse sees; without it they hold zeros.
        reduce: both see means over blocks of so many pixels a side, and what they change is enlarged.
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
        """The last of `stages`: a whole image, of which the holes are to be used."""
        return self.stages(image, mask, sketch)[-1]

    def stages(self, image: Tensor, mask: Tensor, sketch: Tensor | None = None) -> tuple[Tensor, ...]:
        """Every step's image, N×C×H×W in [-1, 1], of any size.

        Args:
            image: N×C×H×W in [-1, 1]; what it holds in the holes is not seen.
            mask: N×1×H×W, 1 in holes and 0 elsewhere.
            sketch: N×1×H×W, 1 on lines that the result should follow and 0 elsewhere; none if not given. Outside
                the holes it is not seen.
        """
        height, width = image.shape[-2:]
        sketch = torch.zeros_like(mask) if sketch is None else sketch
        image, mask, sketch = (
            pad_to_multiple(x, self.size_multiple, self.minimum_size) for x in (image, mask, sketch)
        )
        seen = image * (1 - mask)
        if self.start is not None:
            seen = seen + self.start(image, mask) * mask
        images = (
            self._made(seen, mask, sketch) if self.residual_downscale == 1 else self._made_small(seen, mask, sketch)
        )
        return tuple(made[..., :height, :width] for made in images)

    def _made(self, seen: Tensor, mask: Tensor, sketch: Tensor) -> list[Tensor]:
        images = [self.coarse.run(torch.cat([seen, 1 - sketch * mask, mask], dim=1))]
        if self.refine is not None:
            filled = images[0] * mask + seen * (1 - mask)
            images.append(self.refine.run(torch.cat([filled, mask], dim=1)))
        return images

    def _made_small(self, seen: Tensor, mask: Tensor, sketch: Tensor) -> list[Tensor]:
        small, share = (functional.avg_pool2d(x, self.residual_downscale) for x in (seen, mask))
        small_mask = (share > 0.5).to(mask.dtype)  # narrower holes stay filled smoothly
        lines = functional.max_pool2d(sketch * mask, self.residual_downscale)
        images = []
        for made in self._made(small, small_mask, lines):
            # Zero around the hole, so that the change fades in from its edge.
            residual = enlarged((made - small) * small_mask, self.residual_downscale)
            images.append(clipped(seen + residual * mask))
        return images


def as_residual_of_smooth_fill(inpainter: Inpainter, channels: int, *, residual_downscale: int = 1) -> Inpainter:
    """The inpainter as one that changes a smooth fill of the holes, and begins with that as it is.

    reduce: what it changes is worked out on means over blocks of so many pixels a side.
    """
    for part in (inpainter.coarse, inpainter.refine):
        if part is not None:
            as_residual(part, channels)
    return Inpainter(inpainter.coarse, inpainter.refine, SmoothFill(), residual_downscale=residual_downscale)


class MakeConv(Protocol):
    """A convolution and its activation, ELU if not given; the size is kept, or divided by the stride."""

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
    padding = dilation * (kernel - 1) // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation)
    return nn.Sequential(conv, activation or nn.ELU())


def deepfill_v2(channels: int = 3, *, width: int = 48, tensorflow: bool = False) -> Inpainter:
    """DeepFill v2 (Yu et al. 2019, https://arxiv.org/abs/1806.03589): gated convolutions and contextual attention.

    Args:
        channels: of the image.
        width: channels after the first halving, of which the others are multiples and fractions.
        tensorflow: compute as the original does, for weights that come from it: TensorFlow's SAME padding and
            aligned corners, and no fusing of scores.

    Raises ValueError for a width that does not divide by 4.
    """
    conv: MakeConv = partial(GatedConv, tensorflow=tensorflow)
    return deepfill(channels, width, conv, ContextualAttention(fuse=not tensorflow, tensorflow=tensorflow))


def deepfill_v1(channels: int = 3, *, width: int = 64) -> Inpainter:
    """DeepFill v1 (Yu et al. 2018, https://arxiv.org/abs/1801.07892), in the layout of v2: plain convolutions.

    It departs from the published one, which clips where this has tanh, and the second step of which sees the mask.
    By default as wide as that. Raises ValueError for a width that does not divide by 4.
    """
    return deepfill(channels, width, plain_conv, ContextualAttention())


def deepfill(channels: int, width: int, conv: MakeConv, attention: ContextualAttention) -> Inpainter:
    """Both steps; the second from two branches, of dilated convolutions and of attention."""
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
            head=nn.Sequential(nn.Conv2d(width // 4, channels, 3, padding=1), nn.Tanh()),
            # A quarter of the size is halved once more in the attention.
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
    imagining = nn.Sequential(
        conv(channels, half, 5),
        *(conv(half, half, stride=2), conv(half, width)),
        *(conv(width, width, stride=2), conv(width, wide)),
        *(conv(wide, wide), *dilated()),
    )
    describing = nn.Sequential(
        conv(channels, half, 5),
        *(conv(half, half, stride=2), conv(half, width)),
        *(conv(width, wide, stride=2), conv(wide, wide)),
        conv(wide, wide, activation=nn.ReLU()),
    )
    borrowing = nn.Sequential(conv(wide, wide), conv(wide, wide))
    branches = Branches(imagining, describing, attention, borrowing)
    refine = generator(nn.Identity(), [], nn.Sequential(branches, conv(2 * wide, wide), conv(wide, wide)))
    for part in (coarse, refine):
        init_inpainter(part)
    return Inpainter(coarse, refine)


class Branches(nn.Module):
    """Features of what is imagined and of what is borrowed from elsewhere, side by side.

    N×(C + 1)×H×W, the last channel being the mask → N×2C'×(H/4)×(W/4).
    """

    def __init__(
        self, imagining: nn.Module, describing: nn.Module, attention: ContextualAttention, borrowing: nn.Module
    ) -> None:
        super().__init__()
        self.imagining = imagining
        self.describing = describing
        self.attention = attention
        self.borrowing = borrowing

    def forward(self, x: Tensor) -> Tensor:
        image, mask = x[:, :-1], x[:, -1:]
        borrowed = self.borrowing(self.attention(self.describing(image), mask))
        return torch.cat([self.imagining(image), borrowed], dim=1)


def context_encoder(channels: int = 3, *, width: int = 64, bottleneck: int = 4000, norm: Norm = "batch") -> Inpainter:
    """Context Encoder (Pathak et al. 2016, https://arxiv.org/abs/1604.07379) for holes of any form, in one step.

    Five halvings, 64-64-128-256-512 channels; 4000 numbers for what is seen; and back with 512-256-128-64-64.

    The published one takes 128×128 pixels and joins all places of its smallest features, 4×4, in the 4000. Here they
    are a convolution of 4×4, which for that size is the same, and slides over larger images: each block of 128×128
    pixels, 32 apart, has its own 4000, and features come from all blocks that they lie in. Sizes are padded to
    multiples of 32 pixels and to at least 128. In training, batch norm needs two blocks: a batch of two, or a larger
    image. The published one sees the image alone, filled with a mean colour; here mask and sketch stand beside it.

    width: channels after the first halving.
    """
    widths = [width, width, 2 * width, 4 * width, 8 * width]
    bias = needs_bias(norm)

    def down(inputs: int, outputs: int) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
        return nn.Sequential(conv, norm_layer(norm, outputs), nn.LeakyReLU(0.2, inplace=True))

    def up(inputs: int, outputs: int) -> nn.Module:
        conv = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
        return nn.Sequential(conv, norm_layer(norm, outputs), nn.ReLU(inplace=True))

    first = nn.Conv2d(channels + 2, width, 4, stride=2, padding=1)
    last = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
    return Inpainter(
        Generator(
            stem=nn.Sequential(first, nn.LeakyReLU(0.2, inplace=True)),
            downs=[down(widths[i], widths[i + 1]) for i in range(4)],
            body=nn.Sequential(
                nn.Conv2d(widths[-1], bottleneck, 4, bias=bias),
                norm_layer(norm, bottleneck),
                nn.LeakyReLU(0.2, inplace=True),
                nn.ConvTranspose2d(bottleneck, widths[-1], 4, bias=bias),
                norm_layer(norm, widths[-1]),
                nn.ReLU(inplace=True),
            ),
            ups=[up(widths[i + 1], widths[i]) for i in reversed(range(4))],
            head=nn.Sequential(last, nn.Tanh()),
            size_multiple=32,
            minimum_size=128,
            receptive_field=LARGEST_RECEPTIVE_FIELD,
        )
    )


GATED_GAIN = 2.3
PLAIN_GAIN = 1.25
"""By which the weights are larger than 1/√inputs, so that normal features keep their mean square: that of
ELU(a) · sigmoid(b) is 0.19 for normal a and b, that of ELU(a) 0.65."""


def init_inpainter(module: nn.Module) -> None:
    """Normal weights with which features neither fade nor grow; there is no norm that would see to it."""
    gated = {part.conv for part in module.modules() if isinstance(part, GatedConv)}
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            gain = GATED_GAIN if part in gated else PLAIN_GAIN
            nn.init.normal_(part.weight, 0.0, gain / math.sqrt(part.weight[0].numel()))
