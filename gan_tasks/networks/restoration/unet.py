"""A U-Net of residual blocks at 1/2, 1/4 and 1/8 of the image's size, without normalisation.

Plain 3×3 convolutions on few channels of unshuffled pixels are quick on a CPU. The design is that of DRUNet (Zhang et
al. 2021, https://arxiv.org/abs/2008.13751), with the features of a downsampling step concatenated rather than added.
"""

from __future__ import annotations

from torch import nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Residual, init_convs

WIDTHS = (1, 2, 4)
"""Channels of the three sizes, as multiples of the width."""
UNSHUFFLE = 2
"""Factor of the pixel unshuffle before the first convolution."""


def residual_unet(in_channels: int, out_channels: int, *, width: int, blocks: tuple[int, int, int]) -> Generator:
    """Return the network, N×in_channels×H×W → N×out_channels×H×W. It starts with an output of zeros.

    Args:
        width: channels at 1/2 of the size; 1/4 has twice and 1/8 four times as many.
        blocks: number of residual blocks at each size; those at 1/2 and 1/4 come twice, before and after 1/8.
    """
    fine, middle, coarse = (width * times for times in WIDTHS)
    multiple = UNSHUFFLE * 4
    last = conv(fine, out_channels * UNSHUFFLE**2)
    generator = Generator(
        stem=nn.Sequential(
            nn.PixelUnshuffle(UNSHUFFLE), conv(in_channels * UNSHUFFLE**2, fine), *residuals(fine, blocks[0])
        ),
        downs=[
            nn.Sequential(nn.Conv2d(fine, middle, 2, stride=2), *residuals(middle, blocks[1])),
            nn.Conv2d(middle, coarse, 2, stride=2),
        ],
        body=nn.Sequential(*residuals(coarse, blocks[2])),
        ups=[
            doubled(coarse, middle),
            nn.Sequential(nn.Conv2d(2 * middle, middle, 1), *residuals(middle, blocks[1]), doubled(middle, fine)),
        ],
        head=nn.Sequential(
            nn.Conv2d(2 * fine, fine, 1),
            *residuals(fine, blocks[0]),
            last,
            nn.PixelShuffle(UNSHUFFLE),
        ),
        skips=True,
        size_multiple=multiple,
        minimum_size=multiple,
        receptive_field=receptive_field_of(blocks),
        tile_multiple=multiple,
    )
    init_convs(generator, 1.0)
    for block in (part for part in generator.modules() if isinstance(part, Residual)):
        init_convs(block, 0.1)
    nn.init.zeros_(last.weight)
    return generator


def receptive_field_of(blocks: tuple[int, int, int]) -> int:
    """Return the receptive-field radius in pixels: that of all convolutions, and of the grids of 8 pixels."""
    fine, middle, coarse = (2 * count for count in blocks)  # convolutions
    return 2 * (2 * fine + 2) + 4 * 2 * middle + 8 * coarse + 7


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def residuals(channels: int, count: int) -> list[Residual]:
    """Return residual blocks x + conv(relu(conv(x)))."""
    return [Residual(conv(channels, channels), nn.ReLU(inplace=True), conv(channels, channels)) for _ in range(count)]


def doubled(inputs: int, outputs: int) -> nn.Sequential:
    """Return a module N×inputs×H×W → N×outputs×2H×2W."""
    return nn.Sequential(nn.Conv2d(inputs, 4 * outputs, 1), nn.PixelShuffle(2))
