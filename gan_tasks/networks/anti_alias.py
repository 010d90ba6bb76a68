"""Anti-aliased change of size: blur with a fixed filter, so that a small shift of the image changes little else.

Zhang 2019, https://arxiv.org/abs/1904.11486
"""

from torch import nn

from gan_tasks.networks.layers import ReflectionPad2d

DOWN_FILTER = (1, 2, 1)
"""Of `blur_downsample`: the outer product with itself, divided by its sum."""
UP_FILTER = (1, 3, 3, 1)
"""Of `bilinear_upsample`: the outer product with itself, divided by a quarter of its sum."""


def blur_downsample() -> nn.Module:
    """Return a module that blurs with DOWN_FILTER and keeps every other pixel, N×C×H×W → N×C×⌈H/2⌉×⌈W/2⌉.

    It reflects the features at their border, which takes 2 pixels or more along each side.
    """
    # The mean of 2×2 pixels, taken twice, is this filter.
    return nn.Sequential(ReflectionPad2d(1), nn.AvgPool2d(2, stride=1), nn.AvgPool2d(2, stride=2))


def bilinear_upsample() -> nn.Module:
    """Return a module that doubles the size, N×C×H×W → N×C×2H×2W.

    Zeros between the pixels and a blur with UP_FILTER, with the border pixels repeated, are bilinear interpolation.
    """
    return nn.Upsample(scale_factor=2, mode="bilinear")
