"""The published networks of super-resolution, as fillings of the shared generator.

No activation ends them, so that they work on images of any range: the published ones on [0, 1], ours on [-1, 1].
"""

import math

from torch import nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Residual, init_convs, rrdb_block

LARGEST_RECEPTIVE_FIELD = 48
"""Pixels. RRDBNet of 23 blocks looks 350 px far; what is farther than this changes its image by a few levels of 255,
and blended as in export/models/tiling.py by two at most."""


def enlargements(factor: int) -> tuple[int, ...]:
    """The steps in which features grow: 3 in one, powers of 2 by doubling; 1 needs none.

    Raises ValueError for any other factor.
    """
    if factor == 3:
        return (3,)
    if factor < 1 or factor & (factor - 1):
        raise ValueError(f"features grow by 3 or by a power of 2, not by {factor}")
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
    """RRDBNet of ESRGAN and Real-ESRGAN (Wang et al. 2018, 2021): residual-in-residual dense blocks.

    Args:
        unshuffle: fold blocks of so many pixels a side into channels first, and grow by as much more in the end.
            Real-ESRGAN has 2 for scale 2 and 4 for scale 1; other projects have 1 throughout.
        growth: channels that each convolution of a dense block adds.
    """
    steps = enlargements(scale * unshuffle)

    def up(step: int) -> nn.Module:
        conv = nn.Conv2d(width, width, 3, padding=1)
        return nn.Sequential(nn.Upsample(scale_factor=step), conv, nn.LeakyReLU(0.2, inplace=True))

    convs = 15 * blocks + 2  # at the resolution of the features; what follows adds little
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
    """SRVGGNetCompact of Real-ESRGAN: a plain chain of convolutions at the input's size, and the input enlarged."""
    layers = [nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.PReLU(width)) for _ in range(convs)]
    generator = Generator(
        stem=nn.Sequential(nn.Conv2d(in_channels, width, 3, padding=1), nn.PReLU(width)),
        downs=[],
        body=nn.Sequential(*layers),
        ups=[],
        head=nn.Sequential(nn.Conv2d(width, out_channels * scale**2, 3, padding=1), nn.PixelShuffle(scale)),
        scale=scale,
        shortcut=nn.Upsample(scale_factor=scale),
        receptive_field=min(convs + 2, LARGEST_RECEPTIVE_FIELD),
    )
    init_convs(generator, 1.0)
    return generator


def msr_resnet(
    in_channels: int = 3, out_channels: int = 3, *, scale: int = 4, width: int = 64, blocks: int = 16
) -> Generator:
    """MSRResNet of BasicSR: SRResNet without normalisation, on top of the bilinearly enlarged input."""
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
    """SRResNet, the generator of SRGAN (Ledig et al. 2017): residual blocks with batch norm."""
    steps = enlargements(scale)

    def block() -> nn.Module:
        first, second = (nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2))
        return Residual(first, nn.BatchNorm2d(width), nn.PReLU(), second, nn.BatchNorm2d(width))

    def up(step: int) -> nn.Module:
        return nn.Sequential(grow(width, step), nn.PixelShuffle(step), nn.PReLU())

    return Generator(
        stem=nn.Sequential(nn.Conv2d(in_channels, width, 9, padding=4), nn.PReLU()),
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
    """Makes the channels that a pixel shuffle spreads over blocks of step × step."""
    return nn.Conv2d(width, width * step**2, 3, padding=1)


def receptive_field_of(convs: int, steps: tuple[int, ...], unshuffle: int = 1) -> int:
    """Pixels of input: 3×3 convolutions at the resolution of the body, one more after each step, two in the head."""
    after = sum(1 / math.prod(steps[: i + 1]) for i in range(len(steps))) + 2 / math.prod(steps)
    return min(math.ceil(unshuffle * (convs + after)), LARGEST_RECEPTIVE_FIELD)
