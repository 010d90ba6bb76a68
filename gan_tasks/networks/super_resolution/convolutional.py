"""Generators for super-resolution, as configurations of the backbone.

They map N×C×H×W to N×C×(scale·H)×(scale·W). There is no activation after the last layer, so they work in any value
range: public checkpoints use [0, 1], and the tasks of this package use [-1, 1].
"""

import math

from torch import nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Residual, init_convs, rrdb_block
from gan_tasks.networks.layers import PReLU

LARGEST_RECEPTIVE_FIELD = 48
"""Upper limit of the declared receptive-field radius, in pixels.

The radius of RRDBNet with 23 blocks is 350 px. But pixels farther than this limit change its output by a few levels
of 255 only, and by at most two levels after the blending of tiles in export/models/tiling.py.
"""


def enlargements(factor: int) -> tuple[int, ...]:
    """Split an upsampling factor into steps: 3 → (3,), powers of 2 → steps of 2, 1 → no step.

    Raises ValueError for any other factor.
    """
    if factor == 3:
        return (3,)
    if factor < 1 or factor & (factor - 1):
        raise ValueError(f"the upsampling factor is {factor}: it must be 3 or a power of 2")
    return (2,) * (factor.bit_length() - 1)


def rrdb(
    in_channels: int = 3,
    out_channels: int = 3,
    *,
    scale: int = 4,
    unshuffle: int = 1,
    width: int = 64,
    growth: int = 32,
    blocks: int = 23,
) -> Generator:
    """RRDBNet of ESRGAN and Real-ESRGAN: a generator of residual-in-residual dense blocks.

    Wang et al. 2018, https://arxiv.org/abs/1809.00219; Wang et al. 2021, https://arxiv.org/abs/2107.10833

    Args:
        scale: output pixels per input pixel along a side. scale·unshuffle must be 3 or a power of 2.
        unshuffle: apply a pixel unshuffle with this factor first, and upsample by this factor more at the end.
            Real-ESRGAN uses 2 for scale 2 and 4 for scale 1; other projects use 1.
        width: channels of the features.
        growth: channels that each convolution of a dense block adds.
        blocks: number of residual-in-residual dense blocks.

    Raises ValueError for any other scale.
    """
    steps = enlargements(scale * unshuffle)

    def up(step: int) -> nn.Module:
        conv = nn.Conv2d(width, width, 3, padding=1)
        return nn.Sequential(nn.Upsample(scale_factor=step), conv, nn.LeakyReLU(0.2, inplace=True))

    convs = 15 * blocks + 2  # convolutions at the resolution of the body
    generator = Generator(
        stem=nn.Sequential(
            nn.PixelUnshuffle(unshuffle) if unshuffle > 1 else nn.Identity(),
            nn.Conv2d(in_channels * unshuffle**2, width, 3, padding=1),
        ),
        downs=[],
        body=Residual(
            *(rrdb_block(width, growth=growth) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1)
        ),
        ups=[up(step) for step in steps],
        head=nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(width, out_channels, 3, padding=1),
        ),
        size_multiple=unshuffle,
        minimum_size=unshuffle,
        scale=scale,
        receptive_field=receptive_field_of(convs, steps, unshuffle),
        tail_receptive_field=receptive_field_of(0, steps),
    )
    init_convs(generator.body, 0.1)
    return generator


def srvgg(
    in_channels: int = 3, out_channels: int = 3, *, scale: int = 4, width: int = 64, convs: int = 16
) -> Generator:
    """SRVGGNetCompact of Real-ESRGAN: a chain of convolutions at the input's size, added to the upsampled input.

    Wang et al. 2021, https://arxiv.org/abs/2107.10833

    Args:
        scale: output pixels per input pixel along a side.
        width: channels of the features.
        convs: number of convolutions in the body.
    """
    layers = [nn.Sequential(nn.Conv2d(width, width, 3, padding=1), PReLU(width)) for _ in range(convs)]
    generator = Generator(
        stem=nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), PReLU(width)),
        downs=[],
        body=nn.Sequential(*layers),
        ups=[],
        head=nn.Sequential(nn.Conv2d(width, out_channels * scale**2, 3, padding=1), nn.PixelShuffle(scale)),
        scale=scale,
        shortcut=nn.Upsample(scale_factor=scale),
        receptive_field=min(convs + 2, LARGEST_RECEPTIVE_FIELD),
    )
    # PyTorch's own weights, which are published, are so small that the gradient vanishes over the chain. A small last
    # layer lets the training start near the upsampled input all the same.
    init_convs(generator, 1.0)
    init_convs(generator.head, 0.1)
    return generator


def msr_resnet(
    in_channels: int = 3, out_channels: int = 3, *, scale: int = 4, width: int = 64, blocks: int = 16
) -> Generator:
    """MSRResNet of BasicSR: SRResNet without normalisation, added to the bilinearly upsampled input.

    https://github.com/XPixelGroup/BasicSR

    Args:
        scale: output pixels per input pixel along a side: 3 or a power of 2.
        width: channels of the features.
        blocks: number of residual blocks.

    Raises ValueError for any other scale.
    """
    steps = enlargements(scale)

    def block() -> nn.Module:
        first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        return Residual(first, nn.ReLU(inplace=True), second)

    def up(step: int) -> nn.Module:
        return nn.Sequential(grow(width, step), nn.PixelShuffle(step), nn.LeakyReLU(0.1, inplace=True))

    generator = Generator(
        stem=nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.LeakyReLU(0.1, inplace=True)),
        downs=[],
        body=nn.Sequential(*(block() for _ in range(blocks))),
        ups=[up(step) for step in steps],
        head=nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(0.1, inplace=True),
            nn.Conv2d(width, out_channels, 3, padding=1),
        ),
        scale=scale,
        shortcut=nn.Upsample(scale_factor=scale, mode="bilinear", align_corners=False),
        receptive_field=receptive_field_of(2 * blocks + 2, steps),
        tail_receptive_field=receptive_field_of(1, steps),
    )
    init_convs(generator.body, 0.1)
    return generator


def srresnet(
    in_channels: int = 3, out_channels: int = 3, *, scale: int = 4, width: int = 64, blocks: int = 16
) -> Generator:
    """SRResNet, the generator of SRGAN: residual blocks with batch norm.

    Ledig et al. 2017, https://arxiv.org/abs/1609.04802. The arguments are those of `msr_resnet`.

    Raises ValueError for a scale that is neither 3 nor a power of 2.
    """
    steps = enlargements(scale)

    def block() -> nn.Module:
        first, second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        return Residual(first, nn.BatchNorm2d(width), PReLU(), second, nn.BatchNorm2d(width))

    def up(step: int) -> nn.Module:
        return nn.Sequential(grow(width, step), nn.PixelShuffle(step), PReLU())

    return Generator(
        stem=nn.Sequential(nn.Conv2d(in_channels, width, 9, padding=4), PReLU()),
        downs=[],
        body=Residual(
            *(block() for _ in range(blocks)),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        ),
        ups=[up(step) for step in steps],
        head=nn.Conv2d(width, out_channels, 9, padding=4),
        scale=scale,
        receptive_field=receptive_field_of(2 * blocks + 8, steps),
    )


def grow(width: int, step: int) -> nn.Conv2d:
    """Return the convolution before a pixel shuffle with factor `step`, N×width×H×W → N×(width·step²)×H×W."""
    return nn.Conv2d(width, width * step**2, 3, padding=1)


def receptive_field_of(convs: int, steps: tuple[int, ...], unshuffle: int = 1) -> int:
    """Return the receptive-field radius in input pixels, at most LARGEST_RECEPTIVE_FIELD.

    Args:
        convs: number of 3×3 convolutions at the resolution of the body.
        steps: factors of the upsampling steps. One 3×3 convolution follows each step, and two are in the head.
        unshuffle: factor of the pixel unshuffle before the body.
    """
    after = sum(1 / math.prod(steps[: i + 1]) for i in range(len(steps))) + 2 / math.prod(steps)
    return min(math.ceil(unshuffle * (convs + after)), LARGEST_RECEPTIVE_FIELD)
