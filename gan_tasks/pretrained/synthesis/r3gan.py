"""Checkpoints of R3GAN: https://github.com/brownvc/R3GAN (Huang et al. 2024).

The layers are called `MainLayers.S.Layers.L`, for stage S. In networks with classes all names begin with `Model.`. A
stage of the generator begins with a change of size, and a stage of the discriminator ends with one. Files also hold
the constant filters of the changes of size.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.synthesis.frame import SynthesisGenerator
from gan_tasks.networks.synthesis.r3gan import Level, R3GANDiscriminator, r3gan_generator
from gan_tasks.networks.synthesis.resampling import BILINEAR_TAPS, fir_filter
from gan_tasks.pretrained.conversion import (
    Architecture,
    State,
    Usage,
    assemble,
    checked_count,
    conv_channels,
    rename_modules,
)
from gan_tasks.pretrained.synthesis.stylegan2 import linear_sizes
from gan_tasks.pretrained.synthesis.usage import synthesis_usage

WRAPPER = "Model."
"""Prefix of all names in networks with classes."""
EMBEDDING = "EmbeddingLayer"
LAYER = re.compile(r"MainLayers\.(\d{1,3})\.Layers\.(\d{1,3})\..+")
BLOCK = re.compile(r"MainLayers\.\d+\.Layers\.\d+\.LinearLayer2\.Layer\.weight")
FILTER = re.compile(r"MainLayers\.\d+\.Layers\.\d+\.Resampler\.Kernel")
MOST_LEVELS = 10
"""Most sizes of features: 4 to 2048 pixels."""


class R3GANLogits(nn.Module):
    """The published discriminator: images N×C×H×W in [-1, 1], labels N×classes if it has classes → logits N."""

    def __init__(self, discriminator: R3GANDiscriminator) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, image: Tensor, label: Tensor | None = None) -> Tensor:
        logits: Tensor = self.discriminator(image, label)[0][-1]
        return logits.flatten()


def is_generator(state: State) -> bool:
    return {"AggregationLayer.Layer.weight", "MainLayers.0.Layers.0.Basis"} <= unwrapped(state).keys()


def is_discriminator(state: State) -> bool:
    return {"ExtractionLayer.Layer.weight", "MainLayers.0.Layers.0.LinearLayer1.Layer.weight"} <= unwrapped(
        state
    ).keys()


def unwrapped(state: State) -> dict[str, Tensor]:
    """Remove the prefix of networks with classes."""
    return {key.removeprefix(WRAPPER): tensor for key, tensor in state.items()}


def without_filters(state: State) -> dict[str, Tensor]:
    """Remove the constant filters. Raises UserError for one that is not that of the published code."""
    published = fir_filter(BILINEAR_TAPS)
    for key, tensor in state.items():
        if FILTER.fullmatch(key) and not (
            tensor.shape == published.shape and torch.allclose(tensor.float(), published, atol=1e-3)
        ):
            raise UserError(f"{key} is not the filter [1, 3, 3, 1] along each axis, which R3GAN has")
    return {key: tensor for key, tensor in state.items() if not FILTER.fullmatch(key)}


def find_levels(state: State, first_block: int) -> list[Level]:
    """Return the residual blocks of each stage, in the order of the file.

    first_block: index of the first layer of a stage that is a block.
    """
    layers = [match for match in map(LAYER.fullmatch, state) if match]
    stages = checked_count(max((int(match[1]) for match in layers), default=-1) + 1, "stages", MOST_LEVELS)
    levels = []
    for stage in range(stages):
        blocks = sum(BLOCK.fullmatch(key) is not None and key.startswith(f"MainLayers.{stage}.") for key in state)
        # The first stage of a generator has its basis where the others have their change of size.
        _, width = conv_channels(state, f"MainLayers.{stage}.Layers.{first_block}.LinearLayer1.Layer")
        inner, per_group = conv_channels(state, f"MainLayers.{stage}.Layers.{first_block}.LinearLayer2.Layer")
        if inner % per_group:
            raise UserError(f"stage {stage} has {inner} channels in groups of {per_group}: expected whole groups")
        levels.append(Level(width, inner // per_group, checked_count(blocks, "blocks")))
    return levels


def find_expansion(state: State, first_block: int) -> int:
    """Return the channels of the 3×3 convolutions over those of the features, a whole number."""
    inner, width = conv_channels(state, f"MainLayers.0.Layers.{first_block}.LinearLayer1.Layer")
    if inner < width or inner % width:
        raise UserError(f"a block expands {width} channels to {inner}: expected a multiple")
    return inner // width


def block_names(ours: str, theirs: str) -> dict[str, str]:
    """Return our names → published names of a residual block, whose biases belong to its activations."""
    names = {}
    for number, layer in enumerate(("expand", "mix", "reduce"), start=1):
        names[f"{ours}.{layer}.weight"] = f"{theirs}.LinearLayer{number}.Layer.weight"
        names[f"{ours}.{layer}.bias"] = f"{theirs}.NonLinearity{number}.Bias"
    return names


def generator_names(levels: Sequence[Level]) -> dict[str, str]:
    """Return our names → published names."""
    basis = "MainLayers.0.Layers.0"
    names = {
        "mapping.embedding": EMBEDDING,
        "base.basis": f"{basis}.Basis",
        "base.linear": f"{basis}.LinearLayer",
        "to_rgb.0.conv": "AggregationLayer.Layer",
    }
    for number, level in enumerate(levels):
        names[f"stages.{number}.transition.0"] = f"MainLayers.{number}.Layers.0.LinearLayer.Layer"
        for block in range(level.blocks):
            names |= block_names(f"stages.{number}.blocks.{block}", f"MainLayers.{number}.Layers.{block + 1}")
    return names


def discriminator_names(levels: Sequence[Level]) -> dict[str, str]:
    """Return our names → published names. Our stages begin with the change of size that ends the one before."""
    last = f"MainLayers.{len(levels) - 1}.Layers.{levels[-1].blocks}"
    names = {
        "from_image": "ExtractionLayer.Layer",
        "basis": f"{last}.Basis",
        "linear": f"{last}.LinearLayer",
        "embedding": EMBEDDING,
    }
    for number, level in enumerate(levels):
        for block in range(level.blocks):
            names |= block_names(f"stages.{number}.blocks.{block}", f"MainLayers.{number}.Layers.{block}")
        if number:
            change = f"MainLayers.{number - 1}.Layers.{levels[number - 1].blocks}"
            names[f"stages.{number}.transition.1"] = f"{change}.LinearLayer.Layer"
    return names


def build_generator(state: State) -> SynthesisGenerator:
    state = without_filters(unwrapped(state))
    levels = find_levels(state, first_block=1)
    embedding, classes = linear_sizes(state, EMBEDDING) if f"{EMBEDDING}.weight" in state else (0, 0)
    _, inputs = linear_sizes(state, "MainLayers.0.Layers.0.LinearLayer")
    if inputs <= embedding:
        raise UserError(f"its first layer takes {inputs} numbers: expected a latent and an embedding of {embedding}")
    channels, _ = conv_channels(state, "AggregationLayer.Layer")

    def make() -> SynthesisGenerator:
        return r3gan_generator(
            inputs - embedding,
            levels,
            out_channels=channels,
            classes=classes,
            embedding=embedding,
            expansion=find_expansion(state, 1),
        )

    return assemble(make, generator_names(levels), state)


def build_discriminator(state: State) -> R3GANLogits:
    state = without_filters(unwrapped(state))
    levels = find_levels(state, first_block=0)
    embedding, classes = linear_sizes(state, EMBEDDING) if f"{EMBEDDING}.weight" in state else (0, 0)
    _, channels = conv_channels(state, "ExtractionLayer.Layer")

    def make() -> R3GANDiscriminator:
        return R3GANDiscriminator(
            levels, in_channels=channels, classes=classes, embedding=embedding, expansion=find_expansion(state, 0)
        )

    return R3GANLogits(assemble(make, discriminator_names(levels), state))


def generator_usage(generator: Any) -> Usage:
    return synthesis_usage(generator, generator.base.linear.out_features)


EXAMPLE_LEVELS = (Level(8, 2, 1), Level(4, 1, 2))


def generator_example() -> State:
    network = r3gan_generator(6, EXAMPLE_LEVELS)
    return with_filters(
        rename_modules(network.state_dict(), generator_names(EXAMPLE_LEVELS)), "MainLayers.1.Layers.0"
    )


def discriminator_example() -> State:
    levels = EXAMPLE_LEVELS[::-1]
    state = rename_modules(R3GANDiscriminator(levels).state_dict(), discriminator_names(levels))
    return with_filters(state, f"MainLayers.0.Layers.{levels[0].blocks}")


def with_filters(state: State, *modules: str) -> State:
    return {**state, **{f"{module}.Resampler.Kernel": fir_filter(BILINEAR_TAPS) for module in modules}}


GENERATOR = Architecture(
    "R3GAN",
    "Generator",
    is_generator,
    build_generator,
    generator_example,
    generator_usage,
    files="all sizes, with and without classes",
)
DISCRIMINATOR = Architecture(
    "R3GAN",
    "Discriminator",
    is_discriminator,
    build_discriminator,
    discriminator_example,
    alone="makes no image: give the generator's file, or the snapshot",
)
