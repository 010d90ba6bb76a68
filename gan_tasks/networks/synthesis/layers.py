"""Layers that the networks of synthesis share: equalised learning rate, pixel norm, minibatch deviation.

PGGAN, Karras et al. 2018, https://arxiv.org/abs/1710.10196, and StyleGAN2, Karras et al. 2020,
https://arxiv.org/abs/1912.04958.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gan_tasks.networks.layers import at_least_float32


class Equalised(nn.Module):
    """The weights of a layer with an equalised learning rate.

    The weight is stored as a standard normal draw, and multiplied by gain / √fan_in in each step. Adam then changes
    all weights at the same rate relative to their size.

    Args:
        shape: shape of the weight; the first size is the number of outputs, and the product of the others is fan_in.
        bias: whether there is a bias.
        gain: gain of the activation: √2 in PGGAN. StyleGAN2 has 1, and multiplies after the activation.
        scales_bias: multiply the bias as the weight. PGGAN's published code does so, as it multiplies the output.
        lr_multiplier: learning rate of this layer, relative to the others. The weight is stored divided by it.
        bias_init: initial value of the bias, before it is multiplied.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        bias: bool = True,
        gain: float = 1.0,
        scales_bias: bool = False,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight_gain = gain * lr_multiplier / math.sqrt(math.prod(shape[1:]))
        self.bias_gain = self.weight_gain if scales_bias else lr_multiplier
        self.weight = nn.Parameter(torch.randn(shape) / lr_multiplier)
        self.bias = nn.Parameter(torch.full(shape[:1], bias_init)) if bias else None

    def scaled_weight(self) -> Tensor:
        """Return the weight that the layer computes with."""
        return self.weight * self.weight_gain

    def scaled_bias(self) -> Tensor | None:
        """Return the bias that the layer computes with, or None."""
        return self.bias if self.bias is None or self.bias_gain == 1 else self.bias * self.bias_gain


class EqualisedLinear(Equalised):
    """Linear layer with an equalised learning rate, N×inputs → N×outputs. See `Equalised` for the options."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        gain: float = 1.0,
        scales_bias: bool = False,
        lr_multiplier: float = 1.0,
        bias_init: float = 0.0,
    ) -> None:
        super().__init__(
            (outputs, inputs),
            bias=bias,
            gain=gain,
            scales_bias=scales_bias,
            lr_multiplier=lr_multiplier,
            bias_init=bias_init,
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.scaled_weight(), self.scaled_bias())


class EqualisedConv2d(Equalised):
    """Convolution with an equalised learning rate, N×inputs×H×W → N×outputs×h×w. See `Equalised` for the options.

    kernel, stride, padding: as of `nn.Conv2d`, in pixels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int = 0,
        bias: bool = True,
        gain: float = 1.0,
        scales_bias: bool = False,
    ) -> None:
        super().__init__((outputs, inputs, kernel, kernel), bias=bias, gain=gain, scales_bias=scales_bias)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.scaled_weight(), self.scaled_bias(), self.stride, self.padding)


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Divide N×C… by the root of the mean square over the channels: of each pixel, or of each latent N×C."""
    precise = at_least_float32(x)
    return (precise * torch.rsqrt(precise.square().mean(dim=1, keepdim=True) + eps)).to(x.dtype)


class MinibatchDeviation(nn.Module):
    """Appends how much the features vary within a group of the batch, N×C×h×w → N×(C + channels)×h×w.

    The standard deviation of each feature over a group of images is averaged over the features, and appended to all
    images of the group as constant channels. With it a discriminator notices that generated images are all alike.

    Args:
        group: images in a group. A batch that it does not divide is one group.
        channels: number of groups of features, each of which gets a channel of its own.
        neighbours: form groups of successive images, as PGGAN does. StyleGAN2 takes every (N/group)-th image.
        unbiased: divide the squares by group - 1, as PGGAN does, and not by group. A group of one image has 0.
    """

    def __init__(
        self, group: int = 4, *, channels: int = 1, neighbours: bool = False, unbiased: bool = False
    ) -> None:
        super().__init__()
        self.group, self.channels, self.neighbours, self.unbiased = group, channels, neighbours, unbiased

    def forward(self, x: Tensor) -> Tensor:
        count, features, height, width = x.shape
        size = self.group if count % self.group == 0 else count
        precise = at_least_float32(x).reshape(count, self.channels, features // self.channels, height, width)
        # size × number of groups × channels × features × h × w
        parts = (
            precise.unflatten(0, (-1, size)).transpose(0, 1) if self.neighbours else precise.unflatten(0, (size, -1))
        )
        squares = (parts - parts.mean(0)).square().sum(0) / max(1, size - 1 if self.unbiased else size)
        deviation = (squares + 1e-8).sqrt().mean((2, 3, 4))  # number of groups × channels
        if size == 1 and self.unbiased:
            deviation = torch.zeros_like(deviation)
        each = deviation.repeat_interleave(size, 0) if self.neighbours else deviation.repeat(size, 1)
        return torch.cat([x, each.to(x.dtype)[..., None, None].expand(-1, -1, height, width)], dim=1)
