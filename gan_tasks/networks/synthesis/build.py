"""Build the networks of synthesis by the names and numbers of a configuration."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.autoencoder import began_discriminator, ebgan_discriminator
from gan_tasks.networks.synthesis.dcgan import (
    DiscriminatorNorm,
    dcgan_discriminator,
    dcgan_doublings,
    dcgan_generator,
)
from gan_tasks.networks.synthesis.frame import SynthesisGenerator, doublings_for
from gan_tasks.networks.synthesis.progressive import (
    MultiScaleGradientDiscriminator,
    msg_discriminator,
    progressive_discriminator,
    progressive_generator,
)
from gan_tasks.networks.synthesis.r3gan import Level, R3GANDiscriminator, r3gan_generator
from gan_tasks.networks.synthesis.self_attention import with_attention
from gan_tasks.networks.synthesis.stylegan2 import (
    StyleGAN2Discriminator,
    StyleMapping,
    stylegan2_generator,
    widths_for,
)
from gan_tasks.networks.synthesis.stylegan3 import signals_of_layers, stylegan3_generator, widths_of_layers

NetworkName = Literal["dcgan", "pggan", "msg", "stylegan2", "stylegan3-t", "stylegan3-r", "r3gan"]
HAS_STYLES = frozenset({"stylegan2", "stylegan3-t", "stylegan3-r"})
"""The architectures with a mapping network."""
R3GAN_GROUP_WIDTH = 8
"""Channels of r3gan's features per group of its convolutions."""


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
    attention: Sequence[int] = (),
) -> SynthesisGenerator:
    """Build a generator of images of a size (height, width).

    channels: of the images.
    width: channels of the smallest features.
    style_width, mapping_layers: of the networks that have styles.
    attention: heights of the features that get self-attention, in pixels.

    Raises UserError for a size that the network does not support, and for an attention to features it does not have.
    """
    match network:
        case "dcgan":
            last = last_dcgan_width(size, width)
            generator = dcgan_generator(latent, size=size, width=last, out_channels=channels, classes=classes)
        case "pggan" | "msg":
            generator = progressive_generator(latent, size=size, width=width, out_channels=channels, classes=classes)
        case "stylegan2":
            mapping = StyleMapping(latent, classes, style=style_width, layers=mapping_layers)
            generator = stylegan2_generator(size, mapping, stylegan2_widths(size, width), channels=channels)
        case "stylegan3-t" | "stylegan3-r":
            turns = network == "stylegan3-r"
            mapping = StyleMapping(latent, classes, style=style_width, layers=mapping_layers)
            signals = signals_of_layers(size)
            widths = widths_of_layers(signals, channel_base=64 * width, channel_max=width)
            generator = stylegan3_generator(
                mapping, signals, widths, kernel=1 if turns else 3, radial=turns, channels=channels
            )
        case "r3gan":
            levels = r3gan_levels(size, width)
            generator = r3gan_generator(latent, levels, output_size=size, out_channels=channels, classes=classes)
    one = torch.zeros(1, latent), torch.zeros(1, classes) if classes else None
    add_attention(generator, generator.stages, attention, one)
    return generator


def make_discriminator(
    network: NetworkName,
    *,
    size: tuple[int, int],
    channels: int,
    width: int,
    classes: int = 0,
    norm: DiscriminatorNorm = "batch",
    group: int = 4,
    energy: Literal["none", "ebgan", "began"] = "none",
    attention: Sequence[int] = (),
) -> nn.Module:
    """Build the discriminator of an architecture for images of a size (height, width).

    width: channels of the smallest features.
    norm: of dcgan's discriminator.
    group: images that the discriminator of stylegan2 and stylegan3 compares with one another.
    energy: the objective of an autoencoder, which replaces the discriminator of the architecture.
    attention: heights of the features that get self-attention, in pixels, as far as there are such. Not of
        autoencoders.

    Raises UserError for a size that the network does not support.
    """
    match energy:
        case "ebgan":
            first = max(1, width >> 2)
            return ebgan_discriminator(size, channels=channels, width=first, classes=classes)
        case "began":
            first = max(1, width >> 2)
            return began_discriminator(size, channels=channels, width=first, classes=classes)
    match network:
        case "dcgan":
            first = last_dcgan_width(size, width)
            d: nn.Module = dcgan_discriminator(
                size=size, width=first, in_channels=channels, classes=classes, norm=norm
            )
        case "pggan":
            d = progressive_discriminator(size=size, width=width, in_channels=channels, classes=classes)
        case "msg":
            d = msg_discriminator(size=size, width=width, in_channels=channels, classes=classes)
        case "r3gan":
            levels = r3gan_levels(size, width)[::-1]
            d = R3GANDiscriminator(levels, image_size=size, in_channels=channels, classes=classes)
        case _:  # also that of StyleGAN3
            widths = stylegan2_widths(size, width)
            mapping = StyleMapping(0, classes, style=width, tracks_average=False) if classes else None
            d = StyleGAN2Discriminator(size, widths, channels=channels, label_mapping=mapping, deviation=(group, 1))
    scales = d.scales if isinstance(d, MultiScaleGradientDiscriminator) else 1
    one = torch.zeros(1, channels * scales, *size), torch.zeros(1, classes) if classes else None
    stages = d.get_submodule("stages")
    assert isinstance(stages, nn.ModuleList)
    add_attention(d, stages, attention, one)
    return d


def last_dcgan_width(size: tuple[int, int], width: int) -> int:
    """Return the channels before dcgan's image, of which up to three times each has half of those before it."""
    doublings, _ = dcgan_doublings(size)
    return max(1, width >> min(3, doublings - 1))


def stylegan2_widths(size: tuple[int, int], width: int) -> list[int]:
    """Return the channels of stylegan2's features from 4 pixels on: `width` up to 64, and then half each time."""
    return widths_for(size, channel_base=64 * width, channel_max=width)


def r3gan_levels(size: tuple[int, int], width: int) -> list[Level]:
    """Return r3gan's levels from 4 pixels on: `width` channels up to 32 pixels, and then half each time."""
    doublings, _ = doublings_for(size)
    widths = [max(1, width >> max(0, level - 3)) for level in range(doublings + 1)]
    return [Level(each, groups=divisor_up_to(each, each // R3GAN_GROUP_WIDTH)) for each in widths]


def divisor_up_to(number: int, most: int) -> int:
    """Return the largest divisor of a number that is not above `most`; 1 if `most` is less."""
    return next((each for each in range(most, 1, -1) if number % each == 0), 1)


def add_attention(
    network: nn.Module, stages: nn.ModuleList, heights: Sequence[int], inputs: tuple[Tensor | None, ...]
) -> None:
    """Let those stages of a network that make features of some heights be followed by self-attention.

    inputs: inputs of the network, whose values do not matter.

    Raises UserError for a generator no stage of which makes features of a height.
    """
    if not heights:
        return
    shapes = shapes_of(network, inputs)
    made = [shapes[stage] for stage in stages]
    if isinstance(network, SynthesisGenerator) and (wrong := set(heights) - {shape[-2] for shape in made}):
        there = " ".join(str(shape[-2]) for shape in made)
        raise UserError(f"attention names features of {min(wrong)} pixels: give some of {there}")
    for place, (shape, stage) in enumerate(zip(made, list(stages), strict=True)):
        if shape[-2] in heights:
            stages[place] = with_attention(stage, shape[1])


def shapes_of(network: nn.Module, inputs: tuple[Tensor | None, ...]) -> dict[nn.Module, tuple[int, ...]]:
    """Return the shapes that the parts of a network give, computed without memory; the last one of each part."""
    double = copy.deepcopy(network).to("meta").eval()
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def record(part: nn.Module, original: nn.Module) -> None:
        def hook(module: nn.Module, given: object, output: object) -> None:
            if isinstance(output, Tensor):
                shapes[original] = tuple(output.shape)

        part.register_forward_hook(hook)

    for part, original in zip(double.modules(), network.modules(), strict=True):
        record(part, original)
    with torch.no_grad():
        double(*(each if each is None else each.to("meta") for each in inputs))
    return shapes
