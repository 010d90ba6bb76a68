"""A U-Net that predicts the chroma of a gray image, with the encoder of EfficientNet-Lite0.

    gray → 256×256 → encoder (1/2 to 1/32) → decoder (1/32 to 1/4) → for each chroma channel, a and b → a · gray + b

The colours of a thing depend on what it is, which the whole image shows best, at about the size of the encoder's
training. So the network sees every image at 256×256 pixels. It gives the coefficients of a local linear map from gray
to chroma, which are enlarged and applied to the gray image in its own size. The colours then end at the edges of the
image, as in a guided filter (He et al. 2013, "Guided Image Filtering"), and a large photograph takes hardly more time
than a small one.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import (
    Norm,
    Residual,
    init_convs,
    needs_bias,
    norm_layer,
    same_padding,
)
from gan_tasks.networks.colourisation.chroma import with_chroma
from gan_tasks.networks.layers import Conv2d, at_least_float32
from gan_tasks.networks.sizes import OwnSizeLayer

STEM_CHANNELS = 32
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (2, 5, 2, 6, 192),
)
"""(blocks, kernel, stride, expansion, channels) of each stage of the encoder: those of EfficientNet-Lite0, Tan and Le
2019, https://arxiv.org/abs/1905.11946, up to the second block of the sixth. Later layers have half of all weights."""
WIDTH = 32
"""Channels of the decoder at 1/4 of the size."""
SIZE_PX = 256
"""Height and width of the image that the network sees, in pixels. It is near those of the encoder's training."""


class InvertedResidual(nn.Module):
    """Inverted residual block of EfficientNet-Lite0 without norms: N×C×H×W → N×C_out×(H/stride)×(W/stride)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        expand = [Conv2d(inputs, width, 1), nn.ReLU6(inplace=True)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *expand,
            nn.ZeroPad2d(same_padding(kernel, stride, 1)),
            Conv2d(width, width, kernel, stride=stride, groups=width),
            nn.ReLU6(inplace=True),
            Conv2d(width, outputs, 1),
        )
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.adds else y


class Colouriser(OwnSizeLayer):
    """Gray image → RGB image of exactly this luma, N×1×H×W in [-1, 1] → N×3×H×W in [-1, 1], of any size.

    Args:
        width: channels of the decoder at 1/4 of the size; three coarser sizes have 2, 3 and 4 times as many.
        encoder_scale: factor on the channels of the encoder. 1 fits the weights of EfficientNet-Lite0.
        norm: normalisation in the decoder.
    """

    def __init__(self, *, width: int = WIDTH, encoder_scale: float = 1.0, norm: Norm = "batch") -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(1, round(channels * encoder_scale))

        def conv(inputs: int, outputs: int) -> list[nn.Module]:
            layer = Conv2d(inputs, outputs, 3, padding=1, bias=needs_bias(norm))
            return [layer, norm_layer(norm, outputs), nn.ReLU(inplace=True)]

        def up(inputs: int, outputs: int) -> nn.Module:
            return nn.Sequential(*conv(inputs, outputs), nn.Upsample(scale_factor=2, mode="bilinear"))

        channels, stages = scaled(STEM_CHANNELS), []
        for blocks, kernel, stride, expansion, stage_channels in STAGES:
            layers = []
            for number in range(blocks):
                outputs = scaled(stage_channels)
                layers.append(InvertedResidual(channels, outputs, kernel, stride if number == 0 else 1, expansion))
                channels = outputs
            stages.append(layers)
        first, quarter, eighth, sixteenth, more_of_sixteenth, smallest = stages
        skips = [scaled(stage[-1]) for stage in (STAGES[1], STAGES[2], STAGES[4])]
        stem = [nn.ZeroPad2d(same_padding(3, 2, 1)), Conv2d(1, scaled(STEM_CHANNELS), 3, stride=2), nn.ReLU6(True)]
        last = Conv2d(width, 4, 3, padding=1)
        self.frame = Generator(
            stem=nn.Sequential(*stem, *first),
            downs=[
                nn.Sequential(*layers) for layers in (quarter, eighth, [*sixteenth, *more_of_sixteenth], smallest)
            ],
            body=nn.Sequential(
                *conv(channels, 4 * width),
                Residual(*conv(4 * width, 4 * width), *conv(4 * width, 4 * width)),
            ),
            ups=[
                up(4 * width, 3 * width),
                up(3 * width + skips[2], 2 * width),
                up(2 * width + skips[1], width),
            ],
            head=nn.Sequential(*conv(width + skips[0], width), last),
            skips=True,
            receptive_field=SIZE_PX // 2,
        )
        init_convs(self.frame, 1.0)
        last.weight.data.mul_(0.01)  # the first outputs are almost gray

    def forward(self, gray: Tensor) -> Tensor:
        gray = at_least_float32(gray)
        seen = functional.interpolate(gray, (SIZE_PX, SIZE_PX), mode="bilinear", antialias=True)
        coefficients = at_least_float32(self.frame.run(seen))
        slope, offset = functional.interpolate(coefficients, gray.shape[-2:], mode="bilinear").chunk(2, dim=1)
        return with_chroma(gray, slope * gray + offset)

    def freeze_encoder(self, lite0: nn.Module | None) -> None:
        """Train the decoder only, with an encoder whose weights are copied from EfficientNet-Lite0 if it is given.

        Its batch norms are merged into the convolutions, and its first convolution gets one channel instead of three
        equal ones: the features are those of Lite0 for a gray image.
        """
        encoder = nn.ModuleList([self.frame.stem, self.frame.downs]).requires_grad_(False)
        convs = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
        if lite0 is not None:
            for conv, (weight, bias) in zip(convs, merged(lite0), strict=False):
                assert conv.bias is not None
                conv.weight.data.copy_(weight.sum(dim=1, keepdim=True) if conv is convs[0] else weight)
                conv.bias.data.copy_(bias)


def merged(network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield weight and bias of each convolution merged with its batch norm, in the order in which they run."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
    for conv, norm in zip(layers[::2], layers[1::2], strict=True):
        assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
        assert norm.running_var is not None and norm.running_mean is not None
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        yield conv.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor
