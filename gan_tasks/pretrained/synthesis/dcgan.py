"""Checkpoints of PyTorch's DCGAN example and tutorial: https://github.com/pytorch/examples/tree/main/dcgan.

The files are `netG_epoch_N.pth` and `netD_epoch_N.pth`, with the layers in one Sequential, `main`. Forks of it have
more or fewer layers, for other sizes.
"""

import re
from typing import Any

import torch
from torch import Tensor, nn

from gan_tasks.networks.synthesis.dcgan import DcganDiscriminator, dcgan_of_widths
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    Usage,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.pretrained.synthesis.usage import synthesis_usage

KEY = re.compile(r"main\.(\d{1,3})\.weight")
MAX_DOUBLINGS = 10
"""Most layers that double the size: 4096 pixels."""


class DcganProbability(nn.Module):
    """The published discriminator: images N×C×H×W in [-1, 1] → the probability that each is real, N."""

    def __init__(self, discriminator: DcganDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(image)[0][-1]
        return torch.sigmoid(logits).flatten()


def is_generator(state: State) -> bool:
    return is_dcgan(state) and "main.1.running_mean" in state


def is_discriminator(state: State) -> bool:
    return is_dcgan(state) and "main.1.running_mean" not in state and "main.3.running_mean" in state


def is_dcgan(state: State) -> bool:
    return "main.0.weight" in state and all(key.startswith("main.") for key in state)


def convolutions(state: State) -> list[str]:
    """Return the names of the convolutions in order. Raises UserError if they are too few or too many."""
    numbers = sorted(
        int(match[1]) for key, tensor in state.items() if tensor.ndim == 4 and (match := KEY.fullmatch(key))
    )
    checked_count(len(numbers) - 2, "layers that change the size", MAX_DOUBLINGS)
    return [f"main.{number}" for number in numbers]


def generator_names(convs: int) -> dict[str, str]:
    """Return our names → published names. Each convolution but the last is followed by batch norm and ReLU."""
    names = {"base.1": "main.0", "base.2": "main.1", "to_rgb.0.conv": f"main.{3 * (convs - 1)}"}
    for stage in range(convs - 2):
        names |= {f"stages.{stage}.conv": f"main.{3 * stage + 3}", f"stages.{stage}.norm": f"main.{3 * stage + 4}"}
    return names


def build_generator(state: State) -> SynthesisGenerator:
    convs = convolutions(state)
    latent, _ = conv_channels(state, convs[0])
    pairs = [conv_channels(state, conv) for conv in convs]
    widths, out_channels = [inputs for inputs, _ in pairs[1:]], pairs[-1][1]
    return assemble(
        lambda: dcgan_of_widths(latent, widths, out_channels=out_channels), generator_names(len(convs)), state
    )


def generator_usage(generator: Any) -> Usage:
    return synthesis_usage(generator, generator.base[1].out_channels)


def generator_example() -> State:
    return rename_modules(dcgan_of_widths(5, (8, 4)).state_dict(), generator_names(3))


def discriminator_names(convs: int) -> dict[str, str]:
    """Return our names → published names. Each convolution but the first and the last is followed by batch norm."""
    names = {"stages.0.0": "main.0", "head": f"main.{3 * (convs - 1) - 1}"}
    for stage in range(1, convs - 1):
        names |= {f"stages.{stage}.0": f"main.{3 * stage - 1}", f"stages.{stage}.1": f"main.{3 * stage}"}
    return names


def build_discriminator(state: State) -> DcganProbability:
    convs = convolutions(state)
    pairs = [conv_channels(state, conv) for conv in convs]
    widths, in_channels = [outputs for outputs, _ in pairs[:-1]], pairs[0][1]
    return DcganProbability(
        assemble(lambda: DcganDiscriminator(widths, in_channels=in_channels), discriminator_names(len(convs)), state)
    )


def discriminator_example() -> State:
    return rename_modules(DcganDiscriminator((4, 8)).state_dict(), discriminator_names(3))


GENERATOR = Architecture(
    "DCGAN",
    "Generator",
    is_generator,
    build_generator,
    generator_example,
    generator_usage,
    files="all widths, latents and sizes",
)
DISCRIMINATOR = Architecture(
    "DCGAN",
    "Discriminator",
    is_discriminator,
    build_discriminator,
    discriminator_example,
    alone="makes no image: give the generator's file, such as netG_epoch_24.pth",
)
