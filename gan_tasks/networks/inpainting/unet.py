"""A U-Net for inpainting: one stage without normalisation, quick on a CPU."""

from torch import nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Residual, init_convs
from gan_tasks.networks.inpainting.inpainter import LARGEST_RECEPTIVE_FIELD, Inpainter
from gan_tasks.networks.layers import Conv2d

BLOCK_GAIN = 0.2
"""Factor on the output of each residual block at the start, so that their sum keeps the scale of the features."""


def unet(channels: int = 3, *, width: int = 16) -> Inpainter:
    """U-Net with residual blocks, in one stage; H and W are padded to multiples of 8 pixels.

    It halves the size three times, with `width`, 2, 4 and 8 times as many channels, so nearly all its weights work at
    an eighth of the size, where a few convolutions span the whole image (Ronneberger et al. 2015,
    https://arxiv.org/abs/1505.04597, with the blocks of EDSR, Lim et al. 2017, https://arxiv.org/abs/1707.02921).

    Args:
        channels: channels of the image.
        width: channels at the size of the image.
    """
    widths = [width, 2 * width, 4 * width, 8 * width]

    def block(features: int, dilation: int = 1) -> nn.Module:
        first = Conv2d(features, features, 3, padding=dilation, dilation=dilation)
        return Residual(first, nn.SiLU(), Conv2d(features, features, 3, padding=1), gain=BLOCK_GAIN)

    def down(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.SiLU(), block(outputs))

    def up(inputs: int, between: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            Conv2d(inputs, between, 3, padding=1),
            nn.SiLU(),
            block(between),
            Conv2d(between, 4 * outputs, 3, padding=1),
            nn.PixelShuffle(2),
        )

    generator = Generator(
        stem=nn.Sequential(Conv2d(channels + 2, width, 3, padding=1), nn.SiLU()),
        downs=[down(widths[i], widths[i + 1]) for i in range(3)],
        body=nn.Sequential(*(block(widths[3], dilation) for dilation in (1, 2, 1))),
        ups=[
            up(widths[3], widths[3], widths[2]),
            up(2 * widths[2], widths[2], widths[1]),
            up(2 * widths[1], widths[1], widths[0]),
        ],
        head=nn.Sequential(
            Conv2d(2 * width, width, 3, padding=1), nn.SiLU(), Conv2d(width, channels, 3, padding=1), nn.Tanh()
        ),
        skips=True,
        size_multiple=8,
        minimum_size=16,
        receptive_field=LARGEST_RECEPTIVE_FIELD,
    )
    init_convs(generator, 1.0)
    return Inpainter(generator)
