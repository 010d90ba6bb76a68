"""How published super-resolution generators are used."""

import math

from torch import nn

from gan_tasks.networks.backbone import Generator
from gan_tasks.networks.sizes import sizes_of
from gan_tasks.networks.super_resolution.dysample import DySample
from gan_tasks.pretrained.conversion import Usage
from gan_tasks.spec import InputSpec, ModelSpec


def upscaler_usage(generator: Generator) -> Usage:
    """Return the usage of a super-resolution generator, which maps an image in [0, 1] to a larger one in [0, 1]."""
    convs = [module for module in generator.modules() if isinstance(module, nn.Conv2d)]
    folded = [part.downscale_factor for part in generator.stem.modules() if isinstance(part, nn.PixelUnshuffle)]
    shuffled = [part.upscale_factor for part in generator.head.modules() if isinstance(part, nn.PixelShuffle)]
    out_channels = convs[-1].out_channels // math.prod(shuffled) ** 2
    if isinstance(generator.upsampler, DySample):
        out_channels = generator.upsampler.out_channels
    spec = ModelSpec(
        "super-resolution",
        "upscale",
        (InputSpec("image", "image", convs[0].in_channels // math.prod(folded) ** 2, "any"),),
        out_channels,
        scale=generator.scale,
        **sizes_of(generator)._asdict(),
    )
    return Usage(spec, convs[0].out_channels, (0.0, 1.0))
