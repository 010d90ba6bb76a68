"""The Context Encoder: one stage with a narrow bottleneck."""

from torch import nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Norm, needs_bias, norm_layer
from gan_tasks.networks.inpainting.inpainter import LARGEST_RECEPTIVE_FIELD, Inpainter
from gan_tasks.networks.layers import Conv2d, ConvTranspose2d


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
