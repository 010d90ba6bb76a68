"""DCGAN, Radford et al. 2016, https://arxiv.org/abs/1511.06434: transposed convolutions up, strided ones down."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from gan_tasks.datasets.errors import UserError
from gan_tasks.networks.blocks import init_weights, norm_layer
from gan_tasks.networks.layers import Conv2d, ConvTranspose2d
from gan_tasks.networks.synthesis.frame import Mapping, Stage, SynthesisGenerator, doublings_for

DiscriminatorNorm = Literal["batch", "layer", "none"]
"""Layer norm is that of WGAN-GP: its penalty is on the gradient of each image, which batch norm would mix."""


class Up(Stage):
    """Doubles the size: transposed convolution, batch norm, ReLU; N×inputs×h×w → N×outputs×2h×2w."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, styles: Tensor) -> Tensor:
        return torch.relu(self.norm(self.conv(x)))


class ToImage(nn.Module):
    """Doubles the size and makes the image: transposed convolution, tanh."""

    def __init__(self, inputs: int, out_channels: int) -> None:
        super().__init__()
        self.conv = ConvTranspose2d(inputs, out_channels, 4, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        return torch.tanh(self.conv(x))


def dcgan_generator(
    latent: int = 100,
    *,
    size: tuple[int, int] = (64, 64),
    width: int = 64,
    out_channels: int = 3,
    classes: int = 0,
) -> SynthesisGenerator:
    """Build DCGAN's generator for images of a size (height, width) in pixels.

    latent: length of a latent; a label is concatenated to it.
    width: channels before the image. Those of smaller features double, up to 8·width.
    classes: number of classes; 0 without labels.

    Raises UserError for sizes that no cropped base gives.
    """
    doublings, base_size = dcgan_doublings(size)
    return dcgan_of_widths(
        latent, dcgan_widths(doublings, width), base_size=base_size, out_channels=out_channels, classes=classes
    )


def dcgan_of_widths(
    latent: int,
    widths: Sequence[int],
    *,
    base_size: tuple[int, int] = (4, 4),
    out_channels: int = 3,
    classes: int = 0,
) -> SynthesisGenerator:
    """Build DCGAN's generator with these channels, from the features of 4×4 pixels to those of half the image."""
    mapping = Mapping(latent, classes)
    base = nn.Sequential(
        nn.Unflatten(1, (mapping.style_length, 1, 1)),
        ConvTranspose2d(mapping.style_length, widths[0], 4, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    )
    generator = SynthesisGenerator(
        mapping=mapping,
        base=base,
        stages=[Up(*pair) for pair in pairwise(widths)],
        to_rgb=[ToImage(widths[-1], out_channels)],
        rgb="last",
        output_size=(base_size[0] << len(widths), base_size[1] << len(widths)),
        base_size=None if base_size == (4, 4) else base_size,
        out_channels=out_channels,
    )
    init_weights(generator)
    return generator


class DcganDiscriminator(nn.Module):
    """DCGAN's discriminator: convolutions of stride 2, then one over the whole of the last features.

    Args:
        widths: channels from the features of half the image to those of `base_size`.
        base_size: (height, width) of the last features.
        in_channels: channels of the images.
        classes: number of classes; 0 without labels. The logit of a label is the inner product of its embedding and
            the last features, summed over the pixels (Miyato and Koyama 2018, https://arxiv.org/abs/1802.05637).
        norm: normalisation of all features but the first. Convolutions have a bias unless it is "batch".
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        base_size: tuple[int, int] = (4, 4),
        in_channels: int = 3,
        classes: int = 0,
        norm: DiscriminatorNorm = "batch",
    ) -> None:
        super().__init__()
        bias = norm != "batch"
        stages = []
        for level, (inputs, outputs) in enumerate(pairwise((in_channels, *widths))):
            conv = Conv2d(inputs, outputs, 4, stride=2, padding=1, bias=bias)
            stages.append(nn.Sequential(conv, *([normed(norm, outputs)] if level else []), nn.LeakyReLU(0.2)))
        self.stages = nn.ModuleList(stages)
        self.head = Conv2d(widths[-1], 1, base_size, bias=bias)
        init_weights(self)
        self.embedding = nn.Linear(classes, widths[-1], bias=False) if classes else None
        if self.embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, 0.02)

    def forward(self, image: Tensor, label: Tensor | None = None) -> list[list[Tensor]]:
        """Map images N×C×H×W and labels N×classes to one scale: the features of each layer, and logits N×1×1×1."""
        features = [image]
        for stage in self.stages:
            features.append(stage(features[-1]))
        logits: Tensor = self.head(features[-1])
        if self.embedding is not None and label is not None:
            embedded = self.embedding(label.to(image.dtype))[..., None, None]
            logits = logits + (embedded * features[-1]).sum((1, 2, 3), keepdim=True)
        return [[*features[1:], logits]]


def dcgan_discriminator(
    *,
    size: tuple[int, int] = (64, 64),
    width: int = 64,
    in_channels: int = 3,
    classes: int = 0,
    norm: DiscriminatorNorm = "batch",
) -> DcganDiscriminator:
    """Build DCGAN's discriminator for images of a size (height, width), as `dcgan_generator` makes them.

    width: channels after the first convolution. They double with each further one, up to 8·width.
    """
    doublings, base_size = dcgan_doublings(size)
    widths = dcgan_widths(doublings, width)[::-1]
    return DcganDiscriminator(widths, base_size=base_size, in_channels=in_channels, classes=classes, norm=norm)


def dcgan_doublings(size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
    """Return the number of doublings and the size of the base, as `doublings_for`, of which there is at least one."""
    doublings, base_size = doublings_for(size)
    if not doublings:
        raise UserError(f"images of {size[0]}×{size[1]} pixels are too small for DCGAN: give a size of 8 8 or more")
    return doublings, base_size


def dcgan_widths(doublings: int, width: int) -> tuple[int, ...]:
    """Return the channels of a generator's features: 8·width at most, and `width` before the image."""
    return tuple(width << min(level, 3) for level in reversed(range(doublings)))


def normed(norm: DiscriminatorNorm, channels: int) -> nn.Module:
    return nn.GroupNorm(1, channels) if norm == "layer" else norm_layer(norm, channels)
