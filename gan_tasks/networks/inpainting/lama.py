"""LaMa: a ResNet whose blocks are fast Fourier convolutions, so that each sees the whole image.

Suvorov et al. 2022, https://arxiv.org/abs/2109.07161
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import Residual, pad_to_multiple
from gan_tasks.networks.inpainting.fourier import Channels, FourierConv
from gan_tasks.networks.inpainting.inpainter import LARGEST_RECEPTIVE_FIELD, Inpainter
from gan_tasks.networks.layers import Conv2d, ConvTranspose2d, ReflectionPad2d
from gan_tasks.networks.sizes import SizedModule


def lama(channels: int = 3, *, width: int = 128, blocks: int = 9, global_ratio: float = 0.75) -> Inpainter:
    """LaMa in the form that is trained here: it also takes a sketch, and its images are in [-1, 1].

    Args:
        channels: channels of the image.
        width: channels after the first halving; 128 in the paper. There are half as many before, and four times as
            many after the third halving.
        blocks: number of residual blocks; 9 in LaMa-Fourier, 18 in Big LaMa.
        global_ratio: share of the channels of the blocks that are filtered in the spectrum of the whole image.

    Raises ValueError if there would be no local or fewer than two global channels, or if the width is odd.
    """
    if width % 2:
        raise ValueError(f"the width must be even, got {width}")
    of_global = int(4 * width * global_ratio)
    if not 2 <= of_global < 4 * width:
        raise ValueError(f"{4 * width} channels have no local and two global ones at a ratio of {global_ratio}")
    widths = [width // 2, width, 2 * width, 4 * width]
    return Inpainter(
        fourier_resnet(channels + 2, channels, widths=widths, blocks=blocks, of_global=of_global, last=nn.Tanh())
    )


def fourier_resnet(
    in_channels: int,
    out_channels: int,
    *,
    widths: Sequence[int],
    blocks: int,
    of_global: int,
    last: nn.Module,
    quadrants: bool = False,
) -> Generator:
    """Return the generator of LaMa, N×in_channels×H×W → N×out_channels×H×W.

    Args:
        widths: channels of the first layer, and after each halving.
        blocks: number of residual blocks.
        of_global: how many of the last channels are global in the blocks.
        last: the last activation.
        quadrants: see `SpectralTransform`.
    """
    split = Channels(widths[-1] - of_global, of_global)
    halvings = len(widths) - 1

    def down(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(
            ReflectionPad2d(1),
            Conv2d(inputs, outputs, 3, stride=2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )

    def up(inputs: int, outputs: int) -> nn.Module:
        conv = ConvTranspose2d(inputs, outputs, 3, stride=2, padding=1, output_padding=1)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    def block() -> nn.Module:
        return Residual(*(FourierConv(split, split, quadrants=quadrants) for _ in range(2)))

    first = Conv2d(in_channels, widths[0], 7, bias=False)
    multiple = 2**halvings * (2 if quadrants else 1)
    return Generator(
        stem=nn.Sequential(ReflectionPad2d(3), first, nn.BatchNorm2d(widths[0]), nn.ReLU(inplace=True)),
        downs=[
            *(down(widths[i], widths[i + 1]) for i in range(halvings - 1)),
            FourierConv(Channels(widths[-2], 0), split, stride=2),
        ],
        body=nn.Sequential(*(block() for _ in range(blocks))),
        ups=[up(widths[i + 1], widths[i]) for i in reversed(range(halvings))],
        head=nn.Sequential(ReflectionPad2d(3), Conv2d(widths[0], out_channels, 7), last),
        size_multiple=multiple,
        minimum_size=2 * multiple,  # the blocks reflect two positions, and quadrants of one cannot be exported
        receptive_field=LARGEST_RECEPTIVE_FIELD,
        tail_receptive_field=3,
    )


class Lama(SizedModule):
    """LaMa as it is published: images in [0, 1], and any size.

    It can be called in two ways, which give the same:

    - with an image N×C×H×W in [0, 1] and a mask N×1×H×W, 1 = masked, as all inpainting networks here;
    - with one tensor N×(C + 1)×H×W as in the published code: the image with 0 in the masked region, and the mask.

    It returns N×C×H×W in [0, 1]. H and W are padded to multiples at the bottom and on the right by symmetric
    reflection, which repeats the last row and column, as the published program does.
    """

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.coarse = generator  # the name in `Inpainter`, so that a training can start from published weights
        self.size_multiple = 1
        self.minimum_size = generator.minimum_size
        self.receptive_field = generator.receptive_field

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        x = image if mask is None else torch.cat([image * (1 - mask), mask], dim=1)
        multiple, (height, width) = self.coarse.size_multiple, x.shape[-2:]
        if not torch.compiler.is_exporting():  # an exported network gets no smaller image
            x = pad_to_multiple(x, 1, self.minimum_size)
        # Padding and cropping are selections of rows and columns, which can be exported for sizes that are not known.
        for axis in (-2, -1):
            length = x.shape[axis]
            count = (length + multiple - 1) // multiple * multiple
            index = torch.arange(count, device=x.device)
            x = x.index_select(axis, torch.minimum(index, 2 * length - 1 - index))
        y = self.coarse.run(x)
        for axis, length in ((-2, height), (-1, width)):
            y = y.index_select(axis, torch.arange(length, device=y.device))
        return y
