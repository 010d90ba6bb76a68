"""SPAN, a small generator for super-resolution with attention that has no weights of its own.

Wan et al. 2024, https://arxiv.org/abs/2311.12770, https://github.com/hongyuanyu/SPAN
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.blocks import init_as_pytorch
from gan_tasks.networks.super_resolution.convolutional import LARGEST_RECEPTIVE_FIELD
from gan_tasks.networks.super_resolution.reparameterised import ReparameterisedConv

RGB_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean of DIV2K in [0, 1], which the published network subtracts."""
GAIN = 255.0
"""What the published network multiplies the difference to the mean by."""

MakeConv = Callable[[int, int], nn.Module]


class Normalisation(nn.Module):
    """(x - mean) · gain with fixed numbers, N×C×H×W → the same shape.

    The numbers are buffers, so that they stay with the weights that were trained for them.

    normalised: RGB_MEAN and GAIN, for three channels; else 0 and 1, which leave x as it is.
    """

    mean: Tensor
    gain: Tensor

    def __init__(self, channels: int, *, normalised: bool) -> None:
        super().__init__()
        mean = RGB_MEAN if normalised else (0.0,) * channels
        self.register_buffer("mean", torch.tensor(mean).view(1, channels, 1, 1))
        self.register_buffer("gain", torch.tensor([GAIN if normalised else 1.0]))

    def normalises(self) -> bool:
        """Return whether this changes its input."""
        return bool(self.mean.any()) or bool(self.gain != 1)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.gain


class SpanBlock(nn.Module):
    """Three convolutions and an attention that follows from their result; N×C×H×W → the same shape."""

    def __init__(self, width: int, make_conv: MakeConv) -> None:
        super().__init__()
        self.convs = nn.ModuleList(make_conv(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output, and the features after the first convolution and its activation."""
        first, second, third = self.convs
        inner = functional.silu(first(x))
        y = third(functional.silu(second(inner)))
        return (y + x) * (torch.sigmoid(y) - 0.5), inner


class SpanBody(nn.Module):
    """The blocks, and a 1×1 convolution of four features: the input, the output, those of the first and last block.

    N×C×H×W → the same shape.
    """

    def __init__(self, width: int, blocks: int, make_conv: MakeConv) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(SpanBlock(width, make_conv) for _ in range(blocks))
        self.merge = nn.Conv2d(4 * width, width, 1)
        self.last = make_conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for block in self.blocks:
            y, inner = block(outputs[-1])
            outputs.append(y)
        merged: Tensor = self.merge(torch.cat([x, self.last(outputs[-1]), outputs[1], inner], dim=1))
        return merged


def span(
    in_channels: int = 3,
    out_channels: int = 3,
    *,
    scale: int = 4,
    width: int = 48,
    blocks: int = 6,
    expansion: int = 2,
    normalised: bool = True,
    reparameterised: bool = True,
) -> Generator:
    """SPAN: convolutions at the input's size and a pixel shuffle, for images in [0, 1].

    Args:
        scale: output pixels per input pixel along a side.
        width: channels of the features.
        blocks: number of blocks.
        expansion: see `ReparameterisedConv`.
        normalised: normalise the input as the published network does, for RGB images alone.
        reparameterised: train the convolutions as `ReparameterisedConv`. False: as plain ones, as after `fuse`.

    The receptive field is exact: tiles agree with the whole image.

    Raises ValueError for `normalised` with another number of channels than 3.
    """
    if normalised and in_channels != len(RGB_MEAN):
        raise ValueError(f"the image has {in_channels} channels: only RGB images are normalised")

    def make_conv(inputs: int, outputs: int) -> nn.Module:
        if reparameterised:
            return ReparameterisedConv(inputs, outputs, expansion=expansion)
        return nn.Conv2d(inputs, outputs, 3, padding=1)

    generator = Generator(
        stem=nn.Sequential(Normalisation(in_channels, normalised=normalised), make_conv(in_channels, width)),
        downs=[],
        body=SpanBody(width, blocks, make_conv),
        ups=[],
        head=nn.Sequential(nn.Conv2d(width, out_channels * scale**2, 3, padding=1), nn.PixelShuffle(scale)),
        scale=scale,
        receptive_field=min(3 * blocks + 3, LARGEST_RECEPTIVE_FIELD),
    )
    init_as_pytorch(generator)  # as published: products of small weights would vanish
    return generator
