"""PGGAN's checkpoints of https://github.com/facebookresearch/pytorch_GAN_zoo: files PGAN_*.pth.

A file holds `netG`, `netD` and the averaged generator `avgG`. Their networks have layers to and from RGB at every
size, of which a finished network uses the last.
"""

import re
from typing import Any

from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.progressive import ProgressiveDiscriminator, progressive_of_widths
from gan_tasks.pretrained.conversion import (
    MAX_CHANNELS,
    Architecture,
    State,
    Usage,
    assemble,
    checked_count,
    conv_channels,
    describe,
    rename_modules,
)
from gan_tasks.pretrained.synthesis.usage import synthesis_usage

MAX_DOUBLINGS = 10
"""Most scales after the first: 4096 pixels."""
BASE_PIXELS = 16
"""Pixels of the smallest features, 4×4."""


class PgganScore(nn.Module):
    """The published discriminator: images N×C×H×W in [-1, 1] → scores N×1."""

    def __init__(self, discriminator: ProgressiveDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(image)[0][-1]
        return logits.flatten(1)


def is_generator(state: State) -> bool:
    return {"formatLayer.module.weight", "toRGBLayers.0.module.weight"} <= state.keys()


def is_discriminator(state: State) -> bool:
    return {"decisionLayer.module.weight", "fromRGBLayers.0.module.weight"} <= state.keys()


def layer_channels(state: State, layers: str) -> list[tuple[int, int]]:
    """Return (outputs, inputs) of the convolutions to or from RGB, from the smallest size on."""
    pattern = re.compile(rf"{layers}\.\d+\.module\.weight")
    count = sum(bool(pattern.fullmatch(key)) for key in state)
    checked_count(count - 1, "scales after the first", MAX_DOUBLINGS)
    return [conv_channels(state, f"{layers}.{number}.module") for number in range(count)]


def linear_sizes(state: State, module: str) -> tuple[int, int]:
    """Return (outputs, inputs) of a linear layer. Raises UserError if it is none, or larger than any network's."""
    weight = state.get(f"{module}.weight")
    if weight is None or weight.ndim != 2 or not weight.numel():
        raise UserError(f"{module}.weight is {describe(weight)}, expected the weight of a linear layer")
    if max(weight.shape) > BASE_PIXELS * MAX_CHANNELS:
        raise UserError(f"{module}.weight is {describe(weight)}, expected fewer inputs and outputs")
    return weight.shape[0], weight.shape[1]


def generator_names(scales: int) -> dict[str, str]:
    """Return our names → published names. scales: number of image sizes."""
    names = {"base.linear": "formatLayer.module", "base.conv": "groupScale0.0.module"}
    for scale in range(scales):
        names[f"to_rgb.{scale}.conv"] = f"toRGBLayers.{scale}.module"
    return names | stage_names(scales)


def discriminator_names(scales: int) -> dict[str, str]:
    names = {
        "head.conv": "groupScaleZero.0.module",
        "head.linear": "groupScaleZero.1.module",
        "head.last": "decisionLayer.module",
    }
    for scale in range(scales):
        names[f"from_rgb.{scale}"] = f"fromRGBLayers.{scale}.module"
    return names | stage_names(scales)


def stage_names(scales: int) -> dict[str, str]:
    return {
        f"stages.{stage}.conv{conv + 1}": f"scaleLayers.{stage}.{conv}.module"
        for stage in range(scales - 1)
        for conv in range(2)
    }


def build_generator(state: State) -> SynthesisGenerator:
    pairs = layer_channels(state, "toRGBLayers")
    _, latent = linear_sizes(state, "formatLayer.module")
    widths, out_channels = [inputs for _, inputs in pairs], pairs[-1][0]
    return assemble(
        lambda: progressive_of_widths(latent, widths, out_channels=out_channels), generator_names(len(pairs)), state
    )


def generator_usage(generator: Any) -> Usage:
    return synthesis_usage(generator, len(generator.base.conv.weight))


def generator_example() -> State:
    return rename_modules(progressive_of_widths(5, (8, 4)).state_dict(), generator_names(2))


def build_discriminator(state: State) -> PgganScore:
    pairs = layer_channels(state, "fromRGBLayers")
    outputs, _ = linear_sizes(state, "decisionLayer.module")
    _, inputs = conv_channels(state, "groupScaleZero.0.module")
    widths, in_channels = [outputs for outputs, _ in pairs], pairs[-1][1]
    return PgganScore(
        assemble(
            lambda: ProgressiveDiscriminator(
                widths, in_channels=in_channels, deviation=inputs > widths[0], outputs=outputs
            ),
            discriminator_names(len(pairs)),
            state,
        )
    )


def discriminator_example() -> State:
    return rename_modules(ProgressiveDiscriminator((8, 4)).state_dict(), discriminator_names(2))


GENERATOR = Architecture(
    "PGGAN",
    "GNet",
    is_generator,
    build_generator,
    generator_example,
    generator_usage,
    files="all widths, latents and sizes",
)
DISCRIMINATOR = Architecture(
    "PGGAN",
    "DNet",
    is_discriminator,
    build_discriminator,
    discriminator_example,
    alone="makes no image: give the generator's file, such as PGAN_celebAHQ.pth",
)
