"""Build the networks of synthesis by the names and numbers of a configuration."""

from __future__ import annotations

from typing import Literal

from torch import nn

from gan_tasks.networks.synthesis.dcgan import (
    DiscriminatorNorm,
    dcgan_discriminator,
    dcgan_doublings,
    dcgan_generator,
)
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.progressive import (
    msg_discriminator,
    progressive_discriminator,
    progressive_generator,
)

NetworkName = Literal["dcgan", "pggan", "msg", "stylegan2", "stylegan3-t", "stylegan3-r", "r3gan"]
HAS_STYLES = frozenset({"stylegan2", "stylegan3-t", "stylegan3-r"})
"""The architectures with a mapping network."""


def make_generator(
    network: NetworkName,
    *,
    size: tuple[int, int],
    channels: int,
    latent: int,
    width: int,
    classes: int = 0,
    style_width: int = 512,
    mapping_layers: int = 8,
) -> SynthesisGenerator:
    """Build a generator of images of a size (height, width).

    channels: of the images.
    width: channels of the smallest features.
    style_width, mapping_layers: of the networks that have styles.

    Raises UserError for a size that the network does not support.
    """
    match network:
        case "dcgan":
            last = last_dcgan_width(size, width)
            return dcgan_generator(latent, size=size, width=last, out_channels=channels, classes=classes)
        case "pggan" | "msg":
            return progressive_generator(latent, size=size, width=width, out_channels=channels, classes=classes)
    raise NotImplementedError


def make_discriminator(
    network: NetworkName,
    *,
    size: tuple[int, int],
    channels: int,
    width: int,
    classes: int = 0,
    norm: DiscriminatorNorm = "batch",
    group: int = 4,
) -> nn.Module:
    """Build the discriminator of an architecture for images of a size (height, width).

    width: channels of the smallest features.
    norm: of dcgan's discriminator.
    group: images that the discriminator of stylegan2 and stylegan3 compares with one another.

    Raises UserError for a size that the network does not support.
    """
    match network:
        case "dcgan":
            first = last_dcgan_width(size, width)
            return dcgan_discriminator(size=size, width=first, in_channels=channels, classes=classes, norm=norm)
        case "pggan":
            return progressive_discriminator(size=size, width=width, in_channels=channels, classes=classes)
        case "msg":
            return msg_discriminator(size=size, width=width, in_channels=channels, classes=classes)
    raise NotImplementedError


def last_dcgan_width(size: tuple[int, int], width: int) -> int:
    """Return the channels before dcgan's image, of which up to three times each has half of those before it."""
    doublings, _ = dcgan_doublings(size)
    return max(1, width >> min(3, doublings - 1))
