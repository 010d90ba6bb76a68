"""MI-GAN: a small U-Net of depthwise convolutions for mobile devices, for images of one size.

Sargsyan et al. 2023, "MI-GAN: A Simple Baseline for Image Inpainting on Mobile Devices", ICCV
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.blocks import pad_to_multiple
from gan_tasks.networks.sizes import SizedModule

LOWEST_RESOLUTION = 4
"""Height and width of the smallest features."""
BLUR = (1.0, 3.0, 3.0, 1.0)
"""Filter of the resampling along each axis, as in StyleGAN 2, before it is normalised."""
LARGEST_VALUE = 256.0
"""Limit of the features."""


class MiGan(SizedModule):
    """MI-GAN's generator in the form of its published inference files.

    It can be called in two ways, which give the same:

    - with an image N×C×H×W in [-1, 1] and a mask N×1×H×W, 1 = masked, as all inpainting networks here;
    - with one tensor N×(C + 1)×H×W as in the published code: the mask with 0.5 for known and -0.5 for masked pixels,
      and the image with 0 in the masked region.

    It returns N×C×H×W, about in [-1, 1]. Noise of one size is part of the weights, so the network has one size,
    4·2^(levels - 1). A smaller image is padded at the bottom and on the right, and the result is cropped.

    widths: channels of each level, those of the smallest features first.

    Raises UserError in `forward` for an image that is larger.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.side = LOWEST_RESOLUTION * 2 ** (len(widths) - 1)
        self.size_multiple, self.minimum_size, self.receptive_field = 1, self.side, self.side
        self.from_image = nn.Conv2d(channels + 1, widths[-1], 1)
        # Both lists begin with the smallest features. The encoder runs through its list in reverse.
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for level, width in enumerate(widths):
            below = widths[max(0, level - 1)]
            self.encoder.append(EncoderBlock(width, below, halves=level > 0))
            self.decoder.append(
                DecoderBlock(below, width, channels, side=LOWEST_RESOLUTION * 2**level if level else 0)
            )

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        x = image if mask is None else torch.cat([0.5 - mask, image * (1 - mask)], dim=1)
        height, width = x.shape[-2:]
        if max(height, width) > self.side:
            raise UserError(
                f"MI-GAN takes {self.side}×{self.side} px here, and the image is {width}×{height} px: scale it down"
            )
        return self.run(pad_to_multiple(x, 1, self.side))[..., :height, :width]

    def run(self, x: Tensor) -> Tensor:
        """Map the published input of the network's size to an image, N×(C + 1)×H×W → N×C×H×W."""
        x = activated(self.from_image(x))
        kept = []
        for down in reversed(self.encoder):
            features, x = down(x)
            kept.append(features)
        image: Tensor | None = None
        for up in self.decoder:
            x, image = up(x, kept.pop(), image)
        assert image is not None
        return image


class EncoderBlock(nn.Module):
    """Return features for the decoder, N×C×H×W, and the input of the next block, N×C'×H×W or half of that size."""

    def __init__(self, width: int, below: int, *, halves: bool) -> None:
        super().__init__()
        self.keep = SeparableConv(width, width)
        self.down = SeparableConv(width, below, resample="down" if halves else None)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.keep(x)
        return features, self.down(features)


class DecoderBlock(nn.Module):
    """Add the features of the encoder, and return the features of this level and the image so far.

    side: height and width of the features, which are twice those of the input; 0 for the first block, which keeps the
        size and has no noise.
    """

    def __init__(self, below: int, width: int, channels: int, *, side: int) -> None:
        super().__init__()
        self.up = SeparableConv(below, width, resample="up" if side else None, noise_side=side)
        self.keep = SeparableConv(width, width, noise_side=side)
        self.to_image = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, features: Tensor, image: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.keep(self.up(x) + features)
        residual = self.to_image(x)
        return x, residual if image is None else upsampled(image) + residual


class SeparableConv(nn.Module):
    """Depthwise 3×3 convolution and pointwise convolution, each with its activation, and resampling between them.

    noise_side: height and width of the constant noise that is added before the second activation; 0 for none.
    """

    noise: Tensor

    def __init__(
        self, inputs: int, outputs: int, *, resample: Literal["down", "up"] | None = None, noise_side: int = 0
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.resample = resample
        self.has_noise = noise_side > 0
        if self.has_noise:
            self.register_buffer("noise", torch.randn(noise_side, noise_side))
            self.noise_strength = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        x = activated(self.depthwise(x))
        if self.resample == "down":
            x = downsampled(x)
        x = self.pointwise(x)
        if self.resample == "up":
            x = upsampled(x)
        if self.has_noise:
            x = x + self.noise * self.noise_strength
        return activated(x)


def activated(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance, with a limit."""
    return (functional.leaky_relu(x, 0.2) * math.sqrt(2)).clamp(-LARGEST_VALUE, LARGEST_VALUE)


def downsampled(x: Tensor) -> Tensor:
    """Blur and halve the size, N×C×H×W → N×C×(H/2)×(W/2)."""
    return functional.conv2d(x, blur_of_each(x), stride=2, padding=1, groups=x.shape[1])


def upsampled(x: Tensor) -> Tensor:
    """Double the size and blur, N×C×H×W → N×C×2H×2W. The same as zeros between the pixels and a convolution."""
    return functional.conv_transpose2d(x, 4 * blur_of_each(x), stride=2, padding=1, groups=x.shape[1])


def blur_of_each(x: Tensor) -> Tensor:
    """Return the blur for each channel of x, C×1×4×4."""
    line = torch.tensor(BLUR, dtype=x.dtype, device=x.device) / sum(BLUR)
    return torch.outer(line, line).expand(x.shape[1], 1, 4, 4)
