"""R3GAN's generator and discriminator: residual networks without normalisation.

Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline", https://arxiv.org/abs/2501.05441
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.layers import Conv2d
from gan_tasks.networks.synthesis.frame import Mapping, Stage, SynthesisGenerator, doublings_for
from gan_tasks.networks.synthesis.resampling import Downsample, Upsample

BASE_SIDE = 4
"""Height and width of the smallest features."""
SLOPE = 0.2
"""Slope of the leaky ReLU for negative values."""
LEAKY_GAIN = math.sqrt(2 / (1 + SLOPE**2))
"""Factor on initial weights that keeps the variance in front of a leaky ReLU."""


@dataclass(frozen=True)
class Level:
    """The residual blocks at one size of the features."""

    width: int
    """Channels of the features."""
    groups: int
    """Groups of the 3×3 convolutions ("cardinality")."""
    blocks: int = 2
    """Number of residual blocks."""


def r3gan_generator(
    latent: int,
    levels: Sequence[Level],
    *,
    output_size: tuple[int, int] | None = None,
    out_channels: int = 3,
    classes: int = 0,
    embedding: int = 64,
    expansion: int = 2,
) -> SynthesisGenerator:
    """Make R3GAN's generator.

    levels: from the smallest features, 4×4, to the largest, of the size of the image.
    output_size: (height, width) of the image; the square that the levels give, if it is left out.
    classes: number of classes; 0 for a generator without labels.
    embedding: length of the embedding of a label, which is appended to the latent.
    expansion: channels of the 3×3 convolutions over those of the features.

    Raises UserError for a size that these levels do not give.
    """
    output_size, base_size = sizes_of_levels(output_size, levels)
    mapping: Mapping = EmbeddingMapping(latent, classes, embedding) if classes else Mapping(latent)
    count = sum(level.blocks for level in levels)
    stages, before = [], levels[0].width
    for number, level in enumerate(levels):
        transition = nn.Sequential(*conv_of_change(before, level.width), *([Upsample()] if number else []))
        stages.append(ResidualStage(transition, residual_blocks(level, expansion, count)))
        before = level.width
    return SynthesisGenerator(
        mapping=mapping,
        base=GenerativeBasis(mapping.style_length, levels[0].width),
        stages=stages,
        to_rgb=[ToImage(before, out_channels)],
        rgb="last",
        output_size=output_size,
        base_size=base_size,
        out_channels=out_channels,
    )


class R3GANDiscriminator(nn.Module):
    """R3GAN's discriminator: images N×C×H×W → logits N×1×1×1, as `Scales` with the features of all levels.

    levels: from the largest features, of the size of the image, to the smallest, 4×4.
    image_size: (height, width) of the images; the square that the levels take, if it is left out.
    classes: number of classes; 0 for a discriminator without labels. The logit of a class is the product of the last
        features and the class's embedding (Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637).
    embedding: number of these features, used with classes alone.

    Raises UserError for a size that these levels do not take.
    """

    def __init__(
        self,
        levels: Sequence[Level],
        *,
        image_size: tuple[int, int] | None = None,
        in_channels: int = 3,
        classes: int = 0,
        embedding: int = 64,
        expansion: int = 2,
    ) -> None:
        super().__init__()
        self.image_size, last_size = sizes_of_levels(image_size, levels)
        self.classes = classes
        count = sum(level.blocks for level in levels)
        self.from_image = scaled_conv(in_channels, levels[0].width, 1)
        self.stages, before = nn.ModuleList(), levels[0].width
        for number, level in enumerate(levels):
            transition = nn.Sequential(*([Downsample()] if number else []), *conv_of_change(before, level.width))
            self.stages.append(ResidualStage(transition, residual_blocks(level, expansion, count)))
            before = level.width
        self.basis = nn.Conv2d(before, before, last_size, groups=before, bias=False)
        self.linear = nn.Linear(before, embedding if classes else 1, bias=False)
        scale_weight(self.basis)
        scale_weight(self.linear)
        self.embedding: nn.Linear | None = None
        if classes:
            self.embedding = nn.Linear(classes, embedding, bias=False)
            scale_weight(self.embedding, 1 / math.sqrt(embedding))

    def forward(self, image: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        """Map images N×C×H×W, and labels N×classes of zeros and a one, to a scale of features and logits.

        Raises UserError if the label is missing.
        """
        x = self.from_image(image)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        answer = self.linear(self.basis(x).flatten(1))
        if self.embedding is not None:
            label = checked_label(label, self.classes).to(answer.dtype)
            answer = (answer * self.embedding(label)).sum(1, keepdim=True)
        return [[*features, answer[:, :, None, None]]]


class EmbeddingMapping(Mapping):
    """Appends the embedding of a label to the latent: N×latent and N×classes → N×(latent + embedding)."""

    def __init__(self, latent: int, classes: int, embedding: int) -> None:
        super().__init__(latent, classes)
        self.style_length = latent + embedding
        self.embedding = nn.Linear(classes, embedding, bias=False)
        scale_weight(self.embedding)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        embedded = self.embedding(checked_label(label, self.classes).to(latent.dtype))
        return torch.cat([latent, embedded], dim=1)


class GenerativeBasis(nn.Module):
    """The first features: a learned pattern of each channel, scaled by a linear map of the latent, N×D → N×C×4×4."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(width, BASE_SIDE, BASE_SIDE))
        self.linear = nn.Linear(inputs, width, bias=False)
        scale_weight(self.linear)

    def forward(self, latent: Tensor) -> Tensor:
        scales: Tensor = self.linear(latent)
        return self.basis * scales[:, :, None, None]


class ResidualStage(Stage):
    """A change of size or channels, and residual blocks: N×C×h×w → N×C'×h'×w'."""

    def __init__(self, transition: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.transition = transition
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor, styles: Tensor | None = None) -> Tensor:
        y: Tensor = self.blocks(self.transition(x))
        return y


class ResidualBlock(nn.Module):
    """Residual block of a 1×1, a grouped 3×3 and a 1×1 convolution, N×C×H×W → the same shape.

    gain: factor on the initial weights of the first two convolutions. Those of the last are zero, so that the block
        changes nothing at first (Fixup, Zhang et al. 2019, https://arxiv.org/abs/1901.09321).
    """

    def __init__(self, width: int, groups: int, expansion: int, gain: float) -> None:
        super().__init__()
        inner = width * expansion
        self.expand = scaled_conv(width, inner, 1, gain=gain, bias=True)
        self.mix = scaled_conv(inner, inner, 3, gain=gain, bias=True, groups=groups)
        self.reduce = scaled_conv(inner, width, 1, gain=0)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.activation(self.expand(x))
        y = self.activation(self.mix(y))
        y = self.reduce(y)
        return x + y


class ToImage(nn.Module):
    """1×1 convolution to the image; it needs no style."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.conv = scaled_conv(width, channels, 1)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


def residual_blocks(level: Level, expansion: int, count: int) -> list[ResidualBlock]:
    """Make the blocks of a level, in a network of `count` blocks: the more, the smaller their initial weights."""
    convs = 3  # of a block
    gain = LEAKY_GAIN * count ** (-1 / (2 * convs - 2))
    return [ResidualBlock(level.width, level.groups, expansion, gain) for _ in range(level.blocks)]


def conv_of_change(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a 1×1 convolution where the number of channels changes, else nothing."""
    return [scaled_conv(inputs, outputs, 1)] if inputs != outputs else []


def scaled_conv(
    inputs: int, outputs: int, kernel: int, *, gain: float = 1, bias: bool = False, groups: int = 1
) -> Conv2d:
    """Make a convolution that keeps the size. Initial weights have the deviation gain / √fan-in, biases are zero."""
    conv = Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias, groups=groups)
    scale_weight(conv, gain)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def scale_weight(layer: nn.Conv2d | nn.Linear, gain: float = 1) -> None:
    """Draw the weights of a layer from a normal distribution of the deviation gain / √fan-in (He et al. 2015)."""
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))


def sizes_of_levels(size: tuple[int, int] | None, levels: Sequence[Level]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (height, width) of the image and of the smallest features. Raises UserError if the levels do not fit."""
    side = BASE_SIDE << (len(levels) - 1)
    height, width = size or (side, side)
    doublings, base_size = doublings_for((height, width), BASE_SIDE)
    if doublings != len(levels) - 1:
        raise UserError(
            f"R3GAN has {len(levels)} levels for images whose longer side has {side} pixels, and not for {height}×"
            f"{width}: give {doublings + 1} levels"
        )
    return (height, width), base_size


def checked_label(label: Tensor | None, classes: int) -> Tensor:
    """Return the label. Raises UserError if it is missing."""
    if label is None:
        raise UserError(f"the network was trained with {classes} classes: give a label, N×{classes}")
    return label
